// Who asks for much leaves room for others: limits on connections and containers, and destroys that
// do not end.

#include <gtest/gtest.h>
#include <kj/common.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::seconds;

constexpr uid_t ALICE = 61001, BOB = 61002;

class AdmissionTest : public ServerTest {
 protected:
  void startOpen(std::map<std::string, std::string> config, uint32_t slots = 16) {
    ServerOptions options;
    options.config = std::move(config);
    options.config["server.unix_domain_permissions"] = "0777";
    options.slots = slots;
    start(options);
  }

  // How many connections of the user are served.
  int served(uid_t user, int wanted, std::vector<TestClient>& clients) {
    int count = 0;
    for (int i = 0; i < wanted; ++i) {
      TestClient client = server().connectAs(user);
      if (client.hasInput(std::chrono::milliseconds(100))) {
        refusal = client.receiveError();
        continue;
      }
      client.ping();
      clients.push_back(kj::mv(client));
      ++count;
    }
    return count;
  }

  std::string refusal;
};

TEST_F(AdmissionTest, oneUserGetsHalfOfTheConnectionsAndRootAlwaysOne) {
  startOpen({{"frontend.max_connections", "16"}});
  std::vector<TestClient> clients;
  EXPECT_EQ(served(ALICE, 20, clients), 8);
  EXPECT_NE(refusal.find("one user"), std::string::npos) << refusal;
  EXPECT_EQ(served(BOB, 20, clients), 4);
  EXPECT_EQ(served(0, 10, clients), 4);
  clients.clear();
  EXPECT_TRUE(waitUntil([&]() { return served(BOB, 1, clients) == 1; }));
}

TEST_F(AdmissionTest, containersAreLimited) {
  startOpen({{"frontend.max_containers", "2"}});
  TestClient client = connect();
  std::string first = client.create();
  client.create();
  EXPECT_NE(client.expectError(CreateRequest()).find("frontend.max_containers"), std::string::npos);
  client.destroy(first);
  client.create();
}

TEST_F(AdmissionTest, aUserWithManyCreatesDoesNotStarveAnother) {
  startOpen({{"frontend.max_waiting", "16"}, {"network.release_delay", "0"}}, 64);
  // Alice never stops asking, on many connections.
  std::atomic<bool> stop = false;
  std::atomic<int> busy = 0, done = 0;
  auto untilServed = [&](auto&& request) {
    for (;;) {
      try {
        return request();
      } catch (const std::exception& e) {
        if (std::string(e.what()).find("the server is busy") == std::string::npos) throw;
        ++busy;
      }
    }
  };
  std::mutex mutex;
  std::vector<std::string> failures;
  std::vector<std::thread> threads;
  KJ_DEFER({
    stop = true;
    for (auto& thread : threads)
      thread.join();
  });
  for (int i = 0; i < 40; ++i) {
    threads.emplace_back([&]() {
      try {
        TestClient client = server().connectAs(ALICE);
        client.setTimeout(seconds(60));
        while (!stop) {
          std::string handle = untilServed([&]() { return client.create(); });
          untilServed([&]() { client.destroy(handle); });
          ++done;
        }
      } catch (const std::exception& e) {
        std::lock_guard lock(mutex);
        failures.push_back(e.what());
      }
    });
  }
  EXPECT_TRUE(waitUntil([&]() { return busy > 20 && done > 5; }, seconds(60)));
  TestClient bob = server().connectAs(BOB);
  bob.setTimeout(seconds(30));
  for (int i = 0; i < 5; ++i) {
    std::string handle = bob.create();
    EXPECT_EQ(bob.output(handle, "echo fine"), "fine\n");
    bob.destroy(handle);
  }
  std::lock_guard lock(mutex);
  EXPECT_EQ(failures, std::vector<std::string>());
}

}  // namespace
}  // namespace warden::test
