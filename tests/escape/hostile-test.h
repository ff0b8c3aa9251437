#pragma once
// A server whose frontend is the test: what a frontend that was taken over can do to the helper.

#include <gtest/gtest.h>

#include "tests/escape/helper-connection.h"
#include "tests/support/server-test.h"

namespace warden::test {

constexpr char GOOD_ID[] = "0123456789a";

// One for each request that names a container, but destroy.
using FillContainerRequest = void (*)(schema::HelperRequest::Builder, const char* id);
constexpr FillContainerRequest CONTAINER_REQUESTS[] = {
    [](auto request, auto id) { request.initLimitMemory().setId(id); },
    [](auto request, auto id) {
      auto limit = request.initLimitMemory();
      limit.setId(id);
      limit.setBytes(64 << 20);
    },
    [](auto request, auto id) { request.initLimitCpu().setId(id); },
    [](auto request, auto id) { request.initLimitDisk().setId(id); },
    [](auto request, auto id) {
      auto limit = request.initLimitBandwidth();
      limit.setId(id);
      limit.setRate(1000000);
      limit.setBurst(100000);
    },
    [](auto request, auto id) {
      auto map = request.initMapPort();
      map.setId(id);
      map.setHostPort(5000);
      map.setContainerPort(80);
    },
    [](auto request, auto id) { request.initAllowOut().setId(id); },
};

class HostileFrontendTest : public ::testing::Test {
 protected:
  virtual void configure(ServerOptions&) {}

  void SetUp() override {
    ServerOptions options;
    configure(options);
    options.config["privhelper.frontend_path"] = WARDEN_BIN_DIR "/warden-hostile-frontend";
    server = std::make_unique<TestServer>(options);
    server->launch();
    helper.emplace(HelperConnection::take(*server));
    helper->hello();
    expectGoodService();
    leaks = std::make_unique<LeakCheck>(*server);
  }

  void TearDown() override {
    if (!server) return;
    helper->drain();
    destroyAllContainers();
    expectGoodService();
    replaceFrontend();
    leaks->expectNothingLeaked();
    expectCleanStop(*server);
  }

  // The helper lives and does as it is asked; by a new frontend, when it has dropped the old one.
  void expectGoodService() {
    ASSERT_TRUE(isAlive(server->brokerPid())) << server->logs();
    if (helper->isClosed()) replaceFrontend();
    auto created = helper->create(GOOD_ID, 0);
    if (!created) {
      replaceFrontend();
      created = helper->create(GOOD_ID, 0);
    }
    ASSERT_TRUE(answered(created, schema::HelperReply::CREATED));
    EXPECT_GE(created->fds.size(), 3u);
    auto destroyed = helper->destroy(GOOD_ID);
    EXPECT_TRUE(answered(destroyed, schema::HelperReply::DONE));
  }

  // Containers outlive whoever made them.
  void destroyAllContainers() {
    auto list = helper->list();
    ASSERT_TRUE(answered(list, schema::HelperReply::CONTAINERS));
    for (auto& id : list->whole) {
      auto reply =
          helper->callWith([&](auto request) { request.initDestroy().setId(id.c_str()); }, nullptr);
      ASSERT_TRUE(answered(reply));
      EXPECT_EQ(reply->which, schema::HelperReply::DONE) << reply->text;
    }
  }

  // The old frontend ends; the next one says hello.
  void replaceFrontend() {
    helper.reset();
    endFrontend();
    helper.emplace(HelperConnection::take(*server));
    auto reply = helper->hello();
    ASSERT_TRUE(answered(reply, schema::HelperReply::DONE));
  }

  void endFrontend() {
    auto before = server->findFrontend();
    if (before) kill(*before, SIGKILL);
    ASSERT_TRUE(waitUntil([&]() {
      auto now = server->findFrontend();
      return now.has_value() && now != before;
    })) << server->logs();
  }

  // That a reply has come, and of this kind; else the failure tells why.
  ::testing::AssertionResult answered(const std::optional<Reply>& reply) {
    if (reply.has_value()) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "no reply\n" << server->logs();
  }
  ::testing::AssertionResult answered(const std::optional<Reply>& reply,
                                      schema::HelperReply::Which which) {
    if (!reply.has_value() || reply->which == which) return answered(reply);
    return ::testing::AssertionFailure() << "a reply of kind " << int(reply->which) << ", not "
                                         << int(which) << ": " << reply->text << "\n"
                                         << server->logs();
  }

  size_t refusalsLogged() {
    size_t count = 0;
    for (const auto& line : splitLines(server->logs())) {
      if (line.find("\"outcome\":\"refused\"") != std::string::npos) ++count;
    }
    return count;
  }

  // Runs one hostile request; expects that it is refused, and that this is on record.
  void expectRefused(const HelperConnection::Fill& fill, kj::ArrayPtr<const int> fds = nullptr) {
    size_t before = refusalsLogged();
    auto reply = fds.size() == 0 ? helper->call(fill) : helper->callWith(fill, fds);
    ASSERT_TRUE(answered(reply));
    EXPECT_EQ(reply->which, schema::HelperReply::REFUSED) << reply->text;
    EXPECT_FALSE(reply->text.empty());
    EXPECT_TRUE(reply->fds.empty());
    EXPECT_EQ(refusalsLogged(), before + 1) << server->logs();
  }

  void expectCreateRefused(const std::function<void(schema::CreateContainer::Builder)>& change) {
    expectRefused([&](schema::HelperRequest::Builder request) {
      auto create = request.initCreate();
      fillCreate(create, GOOD_ID, 0);
      change(create);
    });
    EXPECT_TRUE(server->depotEntries().empty());
  }

  std::unique_ptr<TestServer> server;
  std::optional<HelperConnection> helper;
  std::unique_ptr<LeakCheck> leaks;
};

}  // namespace warden::test
