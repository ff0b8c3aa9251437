// Clients that do harm: another client's pings are answered in time meanwhile, and the frontend's
// memory stays bounded. Times are printed beside their goal; what is asserted is far above it,
// since a test that shares its machine cannot hold the server to milliseconds.

#include <errno.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr double GOAL_P95_MS = 10;
constexpr double BOUND_MS = 1000;

class MalformedTest : public ServerTest {
 protected:
  // Pings on a connection of its own, `count` times a millisecond apart.
  void expectPingsAnswered(const std::string& meanwhile, int count = 300) {
    TestClient client = connect();
    std::vector<double> times;
    for (int i = 0; i < count; ++i) {
      auto since = Clock::now();
      client.ping();
      times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - since).count());
      std::this_thread::sleep_for(milliseconds(1));
    }
    std::sort(times.begin(), times.end());
    double p50 = times[times.size() / 2];
    double p95 = times[times.size() * 95 / 100];
    std::cout << "ping while " << meanwhile << ": p50 " << p50 << " ms, p95 " << p95
              << " ms (goal: under " << GOAL_P95_MS << " ms), max " << times.back()
              << " ms, frontend " << memory() << " KiB\n";
    RecordProperty("p95_us", static_cast<int>(p95 * 1000));
    EXPECT_LT(times.back(), BOUND_MS);
  }

  long memory() { return std::stol(statusField(server().frontendPid(), "VmRSS")); }

  void expectMemoryBelow(long kib) { EXPECT_LT(memory(), kib) << "KiB resident in the frontend"; }

  // Repeats `attack` on fresh connections in the background while pings are measured.
  void attackWhilePinging(const std::string& name, const std::function<void(TestClient&)>& attack) {
    std::atomic<bool> stop{false};
    std::atomic<int> rounds{0};
    std::thread attacker([&]() {
      while (!stop) {
        try {
          TestClient client = connect();
          client.setTimeout(seconds(2));
          attack(client);
        } catch (const std::exception&) {
        } catch (const kj::Exception&) {
        }
        ++rounds;
      }
    });
    expectPingsAnswered(name);
    stop = true;
    attacker.join();
    EXPECT_GT(rounds, 0);
    expectMemoryBelow(64 * 1024);
  }
};

struct BadInput {
  const char* name;
  std::string bytes;
};

class BadInputTest : public MalformedTest, public ::testing::WithParamInterface<BadInput> {};

INSTANTIATE_TEST_SUITE_P(All, BadInputTest,
                         ::testing::Values(BadInput{"negativeLength", "-5\r\n"},
                                           BadInput{"hexLength", "0x10\r\n"},
                                           BadInput{"hugeLength", "99999999999\r\n"},
                                           BadInput{"noCrlf", std::string(1 << 20, '7')},
                                           BadInput{"payloadWithoutCrlf", "4\r\nabcdefgh"},
                                           BadInput{"garbage", std::string(1 << 16, '\xa5')}),
                         [](const auto& info) { return info.param.name; });

TEST_P(BadInputTest, harmsNoOtherClient) {
  start();
  attackWhilePinging(GetParam().name, [](TestClient& client) {
    client.sendRaw(GetParam().bytes);
    client.closedByServer(seconds(2));
  });
}

TEST_F(MalformedTest, truncatedFramesHarmNoOtherClient) {
  start();
  std::string whole = frame(Message::Echo, echoRequest(std::string(1000, 'x')).SerializeAsString());
  std::atomic<size_t> length{0};
  attackWhilePinging("frames are cut off", [&](TestClient& client) {
    client.sendRaw(whole.substr(0, length++ % whole.size()));
  });
}

TEST_F(MalformedTest, halfAFrameForEverHarmsNoOtherClient) {
  start();
  std::string half = "1000000\r\n" + std::string(500000, 'x');
  std::vector<TestClient> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(connect());
    clients.back().sendRaw(i % 2 == 0 ? half.substr(0, 20) : std::string("10"));
  }
  expectPingsAnswered("200 clients have sent half a frame");
  for (auto& client : clients)
    EXPECT_FALSE(client.closedByServer(milliseconds(0)));
  expectMemoryBelow(64 * 1024);
}

TEST_F(MalformedTest, largeHalvesOfFramesUseBoundedMemory) {
  start();
  std::string half = "1000000\r\n" + std::string(900000, 'x');
  std::vector<TestClient> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(connect());
    clients.back().sendRaw(half);
  }
  expectPingsAnswered("50 clients have sent 900 kB of a frame each");
  // One frame each, and not several times that.
  expectMemoryBelow(50 * 1000 * 2 + 64 * 1024);
}

TEST_F(MalformedTest, tenThousandIdleConnectionsHarmNoOtherClient) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_GT(limit.rlim_max, 10200u) << "this test needs a hard limit of open files above 10200";
  start();
  long before = memory();
  {
    std::vector<TestClient> idle;
    for (int i = 0; i < 10000; ++i)
      idle.push_back(connect());
    expectPingsAnswered("10,000 connections are idle");
    std::cout << "each idle connection: " << (memory() - before) * 1024 / 10000 << " bytes\n";
    // 16 KiB a connection.
    expectMemoryBelow(before + 160 * 1024);
    idle.back().ping();
    idle.front().ping();
  }
  connect().ping();
}

TEST_F(MalformedTest, moreConnectionsThanAllowedHarmNoneThatIsThere) {
  startWith({{"frontend.max_connections", "50"}});
  TestClient early = connect();
  early.ping();
  {
    std::vector<TestClient> many;
    for (int i = 0; i < 120; ++i)
      many.push_back(connect());
    early.ping();
  }
  EXPECT_TRUE(waitUntil([&]() {
    try {
      TestClient late = connect();
      late.setTimeout(seconds(1));
      late.ping();
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }));
}

TEST_F(MalformedTest, aClientThatNeverReadsHarmsNoOtherClient) {
  start();
  std::string message =
      frame(Message::Echo, echoRequest(std::string(60000, 'x')).SerializeAsString());
  std::vector<TestClient> deaf;
  for (int i = 0; i < 20; ++i) {
    deaf.push_back(connect());
    // As much as the kernel takes without blocking; the answers fill the other direction.
    for (;;) {
      ssize_t n =
          ::send(deaf.back().fd(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) {
        std::this_thread::sleep_for(milliseconds(20));
        n = ::send(deaf.back().fd(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      }
      if (n < static_cast<ssize_t>(message.size())) break;
    }
  }
  expectPingsAnswered("20 clients send and never read");
  expectMemoryBelow(96 * 1024);
}

TEST_F(MalformedTest, aStreamerThatNeverReadsHarmsNoOtherClient) {
  startWith({{"server.job_output_limit", "1073741824"}});
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "yes | head -c 200000000");
  TestClient deaf = connect();
  deaf.startStream("c", job);
  expectPingsAnswered("a streamer does not read 200 MB");
  // The job is not held up by it.
  EXPECT_EQ(client.stream("c", job).exitStatus, 0u);
  expectMemoryBelow(96 * 1024);
}

TEST_F(MalformedTest, connectionsThatComeAndGoHarmNoOtherClient) {
  start();
  attackWhilePinging("connections come and go", [this](TestClient&) {
    for (int i = 0; i < 100; ++i)
      connect();
  });
}

TEST_F(MalformedTest, randomBytesHarmNoOtherClient) {
  start();
  uint32_t seed = 12345;
  attackWhilePinging("random bytes arrive", [&](TestClient& client) {
    std::string bytes;
    for (int i = 0; i < 4000; ++i) {
      seed = seed * 1664525 + 1013904223;
      bytes += static_cast<char>(seed >> 24);
    }
    // Every other time behind a valid length line.
    client.sendRaw((seed >> 20 & 1) != 0 ? "4000\r\n" + bytes + "\r\n" : bytes);
    client.closedByServer(milliseconds(200));
  });
}

}  // namespace
}  // namespace warden::test
