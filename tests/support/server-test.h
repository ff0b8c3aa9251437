#pragma once
// The fixture of tests that run a server of their own: whatever the test did, its end is checked.

#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "tests/support/leak-check.h"
#include "tests/support/process.h"
#include "tests/support/test-client.h"
#include "tests/support/test-server.h"

namespace warden::test {

class ServerTest : public ::testing::Test {
 protected:
  void start(ServerOptions options = {});
  // A server that has made and removed one container before, so that leaks can be told.

  void startWith(std::map<std::string, std::string> config);

  TestServer& server() { return running->server; }
  TestClient connect() { return server().connect(); }

  std::string idOf(const std::string& handle);
  // The container's id, from Info's container_path.

  void takeNewBaseline() { running->check.emplace(running->server); }
  // After a restart of the server or of its frontend.

  virtual void beforeStart(TestServer&) {}
  // Of start(): the server has its directory, and no process yet.
  virtual void afterStop(TestServer&) {}
  // Of TearDown(): no process any more, and its directory still.

  void TearDown() override;
  // Destroys all containers, expects that nothing is left, stops the server, expects 0 as its exit
  // status and again that nothing is left. A server that the test has stopped is not looked at
  // again.

  struct Running {
    TestServer server;
    std::optional<LeakCheck> check;
    explicit Running(ServerOptions options) : server(kj::mv(options)) {}
  };

  std::unique_ptr<Running> park();
  // For tests that hand one server on to the next: destroys all containers, expects that nothing is
  // left, and gives the server up. TearDown() then finds none.

  void takeOver(std::unique_ptr<Running> parked) { running = kj::mv(parked); }

 private:
  std::unique_ptr<Running> running;
};

void warmUp(const TestServer& server);
// Creates a container, runs a job, destroys it.

void destroyAll(const TestServer& server);

void expectCleanStop(TestServer& server, int signal = SIGTERM);
// Stops a server that has no containers; expects exit status 0 and that no process, cgroup, mount
// or directory is left.

void expectNothingRemains(const TestServer& server,
                          std::chrono::milliseconds within = std::chrono::seconds(5));

}  // namespace warden::test
