// Many clients at once: no request fails, nothing is left.

#include <gtest/gtest.h>

#include <iostream>
#include <mutex>
#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

class ConcurrencyTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.slots = 256;
    options.config["logging.level"] = "info";
    options.config["network.release_delay"] =
        "0";  // more containers than networks, one after another
    start(options);
  }

  // Runs `work` in `count` threads, each with a client of its own. Returns what went wrong.
  template <typename Work>
  std::vector<std::string> inParallel(int count, Work work) {
    std::mutex mutex;
    std::vector<std::string> failures;
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
      threads.emplace_back([&, i]() {
        std::string failure;
        try {
          TestClient client = connect();
          client.setTimeout(std::chrono::seconds(120));
          work(client, i);
        } catch (const std::exception& e) {
          failure = e.what();
        } catch (const kj::Exception& e) {
          failure = e.getDescription().cStr();
        }
        if (failure.empty()) return;
        std::lock_guard<std::mutex> lock(mutex);
        failures.push_back("client " + std::to_string(i) + ": " + failure);
      });
    }
    for (auto& thread : threads)
      thread.join();
    return failures;
  }
};

TEST_F(ConcurrencyTest, oneHundredClientsCreateRunAndDestroy) {
  auto since = std::chrono::steady_clock::now();
  auto failures = inParallel(100, [](TestClient& client, int i) {
    for (int round = 0; round < 3; ++round) {
      std::string handle = client.create();
      std::string number = std::to_string(i * 100 + round);
      if (client.output(handle, "echo " + number) != number + "\n") {
        throw std::runtime_error("output of another job");
      }
      client.destroy(handle);
    }
  });
  for (const auto& failure : failures)
    ADD_FAILURE() << failure;
  std::cout << "300 times create, run, destroy by 100 clients: "
            << std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count()
            << " s\n";
  EXPECT_TRUE(connect().list().empty());
}

TEST_F(ConcurrencyTest, oneHundredContainersLiveTogether) {
  auto failures = inParallel(100, [](TestClient& client, int i) {
    std::string handle = "together-" + std::to_string(i);
    client.create(handle);
    client.output(handle, "echo " + handle + " > /tmp/name");
    uint32_t job = client.spawn(handle, "sleep 2; cat /tmp/name");
    if (client.stream(handle, job).out != handle + "\n") throw std::runtime_error("wrong output");
  });
  for (const auto& failure : failures)
    ADD_FAILURE() << failure;
  EXPECT_EQ(connect().list().size(), 100u);
  failures = inParallel(
      100, [](TestClient& client, int i) { client.destroy("together-" + std::to_string(i)); });
  for (const auto& failure : failures)
    ADD_FAILURE() << failure;
}

TEST_F(ConcurrencyTest, clientsOfOneContainerRunJobsInIt) {
  connect().create("shared");
  auto failures = inParallel(50, [](TestClient& client, int i) {
    for (int round = 0; round < 5; ++round) {
      std::string number = std::to_string(i * 100 + round);
      if (client.output("shared", "echo " + number) != number + "\n") {
        throw std::runtime_error("output of another job");
      }
    }
  });
  for (const auto& failure : failures)
    ADD_FAILURE() << failure;
}

TEST_F(ConcurrencyTest, clientsThatLeaveInTheMiddleLeaveNothing) {
  auto failures = inParallel(60, [this](TestClient& client, int i) {
    CreateRequest request;
    request.set_grace_time(1);
    if (i % 3 == 0) {
      client.send(request);
      return;
    }
    std::string handle = client.call(request).handle();
    if (i % 3 == 1) client.send(runRequest(handle, "sleep 1000"));
    if (i % 3 == 2) client.send(destroyRequest(handle));
  });
  for (const auto& failure : failures)
    ADD_FAILURE() << failure;
  EXPECT_TRUE(
      waitUntil([&]() { return server().depotEntries().empty(); }, std::chrono::seconds(30)));
}

}  // namespace
}  // namespace warden::test
