// Whoever may connect to loopback, without being a client, attacks the port of /healthz and
// /metrics: with bytes, with many connections, with few that never end.

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/integration/health-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

class HealthAttackTest : public HealthTest {
 protected:
  void SetUp() override { startHealth(); }

  // Of so many pings, each 2 ms after the one before: the time of all but the slowest twentieth.
  milliseconds pingTime(int count) {
    TestClient client = connect();
    std::vector<Clock::duration> times;
    for (int i = 0; i < count; ++i) {
      auto since = Clock::now();
      client.ping();
      times.push_back(Clock::now() - since);
      std::this_thread::sleep_for(milliseconds(2));
    }
    std::sort(times.begin(), times.end());
    return std::chrono::duration_cast<milliseconds>(times[times.size() * 95 / 100]);
  }

  // As much of it as is taken before the connection is closed.
  static void trySend(TcpConnection& connection, const std::string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      ssize_t n = ::send(connection.fd(), &bytes[at], bytes.size() - at, MSG_NOSIGNAL);
      if (n < 0) return;
      at += n;
    }
  }

  // What comes until the end or the reset of the connection, or of the time.
  static std::string received(TcpConnection& connection, milliseconds within) {
    try {
      return connection.receive(1 << 20, within);
    } catch (const kj::Exception&) {
      return "";
    }
  }

  // Runs `attack` again and again, in a thread, while clients ping and a monitor looks.
  template <typename Attack>
  void expectServiceDuring(Attack&& attack) {
    std::atomic<bool> stop = false;
    std::thread attacker([&]() {
      while (!stop)
        attack();
    });
    KJ_DEFER({
      stop = true;
      attacker.join();
    });
    std::this_thread::sleep_for(milliseconds(200));
    EXPECT_LT(pingTime(300), patient(milliseconds(50)));
    int healthy = 0;
    for (int i = 0; i < 10; ++i)
      healthy += health().status == 200;
    EXPECT_GE(healthy, 8) << "a monitor that asks ten times";
  }
};

TEST_F(HealthAttackTest, oversizedHeadersEndTheirConnection) {
  std::string name = "GET /healthz HTTP/1.1\r\nX: ";
  for (std::string request : {name + std::string(300'000, 'x') + "\r\n\r\n",
                              "GET /" + std::string(300'000, 'x') + " HTTP/1.1\r\n\r\n",
                              std::string(300'000, 'x'), std::string(300'000, '\n')}) {
    auto connection = dial();
    ASSERT_TRUE(connection);
    trySend(*connection, request);
    auto answer = parseHttp(received(*connection, ANSWER));
    EXPECT_TRUE(answer.status == 0 || (answer.status >= 400 && answer.status < 500))
        << answer.status;
    EXPECT_EQ(health().status, 200);
  }
  std::string many = "GET /healthz HTTP/1.1\r\n";
  for (int i = 0; i < 3000; ++i)
    many += "X" + std::to_string(i) + ": y\r\n";
  auto connection = dial();
  ASSERT_TRUE(connection);
  trySend(*connection, many + "Connection: close\r\n\r\n");
  received(*connection, ANSWER);
  EXPECT_EQ(health().status, 200);
}

TEST_F(HealthAttackTest, bytesThatAreNoRequestDoNoHarm) {
  unsigned seed = 7;
  for (int i = 0; i < 50; ++i) {
    std::string bytes;
    for (int n = rand_r(&seed) % 500; n > 0; --n)
      bytes += char(rand_r(&seed));
    auto connection = dial();
    ASSERT_TRUE(connection);
    trySend(*connection, bytes + "\r\n\r\n");
  }
  for (std::string bytes :
       {"GET  HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
        "POST /healthz HTTP/1.1\r\n"
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "POST /healthz HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"}) {
    auto connection = dial();
    ASSERT_TRUE(connection);
    trySend(*connection, bytes);
    received(*connection, NO_ANSWER);
  }
  EXPECT_EQ(health().status, 200);
  connect().ping();
}

TEST_F(HealthAttackTest, whatIsPipelinedHasOneAnswer) {
  std::string one = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", many;
  for (int i = 0; i < 20'000; ++i)
    many += one;
  expectServiceDuring([&]() {
    auto connection = dial();
    if (!connection) return;
    ::send(connection->fd(), many.data(), many.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    EXPECT_LT(received(*connection, milliseconds(500)).size(), 16'000u);
  });
}

TEST_F(HealthAttackTest, tenThousandConnectionsKeepNobodyOut) {
  std::vector<TcpConnection> held;
  int made = 0;
  expectServiceDuring([&]() {
    auto connection = tryConnect(server().network(), "127.0.0.1", HEALTH_PORT, milliseconds(20));
    if (!connection) return;
    ++made;
    held.push_back(kj::mv(*connection));
    if (held.size() > 500) held.clear();
  });
  // As fast as they can be made, and all at once thrown away.
  for (; made < 10'000; ++made) {
    tryConnect(server().network(), "127.0.0.1", HEALTH_PORT, milliseconds(0));
    if (made % 1000 == 0) connect().ping();
  }
  held.clear();
  EXPECT_TRUE(becomes(200));
}

TEST_F(HealthAttackTest, thoseThatNeverEndTheirRequestKeepNobodyOut) {
  std::vector<TcpConnection> slow;
  for (int i = 0; i < 64; ++i) {
    if (auto connection = dial()) slow.push_back(kj::mv(*connection));
  }
  std::string request = "GET /healthz HTTP/1.1\r\nX: " + std::string(1 << 20, 'x');
  size_t at = 0;
  expectServiceDuring([&]() {
    // A byte at a time on each, as fast as possible; whoever was closed is replaced.
    for (auto& connection : slow) {
      if (::send(connection.fd(), &request[at % request.size()], 1, MSG_NOSIGNAL) < 0) {
        if (auto another = dial()) connection = kj::mv(*another);
      }
    }
    ++at;
  });
}

TEST_F(HealthAttackTest, thoseThatDoNotReadAreEndedForOthers) {
  std::string many;
  for (int i = 0; i < 3000; ++i)
    many += "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";
  std::vector<TcpConnection> deaf;
  for (int i = 0; i < 16; ++i) {
    auto connection = dial();
    ASSERT_TRUE(connection);
    ::send(connection->fd(), many.data(), many.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    deaf.push_back(kj::mv(*connection));
  }
  std::this_thread::sleep_for(seconds(2));
  EXPECT_EQ(health().status, 200);
  size_t open = 0;
  for (const auto& [number, target] : descriptorTable(server().frontendPid()))
    open += target.starts_with("socket:");
  EXPECT_LT(open, 40u);
}

}  // namespace
}  // namespace warden::test
