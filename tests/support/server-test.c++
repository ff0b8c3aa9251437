#include "tests/support/server-test.h"

#include <signal.h>

#include <filesystem>
#include <iostream>

namespace warden::test {

void warmUp(const TestServer& server) {
  TestClient client = server.connect();
  std::string handle = client.create();
  client.run(handle, "true");
  client.destroy(handle);
}

void destroyAll(const TestServer& server) {
  TestClient client = server.connect();
  for (const auto& handle : client.list())
    client.destroy(handle);
}

void expectNothingRemains(const TestServer& server, std::chrono::milliseconds within) {
  std::string found;
  bool nothing = waitUntil(
      [&]() {
        found.clear();
        for (const auto& item : server.remains())
          found += "  " + item + "\n";
        return found.empty();
      },
      within);
  EXPECT_TRUE(nothing) << "left behind:\n" << found;
}

void expectCleanStop(TestServer& server, int signal) {
  EXPECT_EQ(server.stop(signal), 0) << server.logs();
  expectNothingRemains(server);
}

void ServerTest::start(ServerOptions options) {
  running = std::make_unique<Running>(kj::mv(options));
  beforeStart(server());
  server().start();
  warmUp(server());
  takeNewBaseline();
}

void ServerTest::startWith(std::map<std::string, std::string> config) {
  ServerOptions options;
  options.config = std::move(config);
  start(std::move(options));
}

std::string ServerTest::idOf(const std::string& handle) {
  return std::filesystem::path(connect().info(handle).container_path()).filename();
}

std::unique_ptr<ServerTest::Running> ServerTest::park() {
  destroyAll(server());
  running->check->expectNothingLeaked();
  return kj::mv(running);
}

void ServerTest::TearDown() {
  if (running != nullptr && server().brokerPid() > 0) {
    destroyAll(server());
    if (running->check) running->check->expectNothingLeaked();
    EXPECT_EQ(server().stop(), 0) << server().logs();
    afterStop(server());
    expectNothingRemains(server());
    if (HasFailure()) std::cerr << server().logs();
  } else if (running != nullptr) {
    afterStop(server());
  }
  running.reset();
}

}  // namespace warden::test
