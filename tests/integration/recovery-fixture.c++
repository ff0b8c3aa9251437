#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "schema/wshd.capnp.h"
#include "tests/integration/recovery-helper-test.h"

namespace warden::test {

pid_t RecoveryHelperTest::create(const std::string& id, uint32_t slot) {
  auto created = helper->create(id, slot);
  KJ_REQUIRE(created.has_value());
  EXPECT_EQ(created->which, schema::HelperReply::CREATED) << created->text << server->logs();
  return created->wshd;
}

void RecoveryHelperTest::end(End how) {
  helper.reset();
  switch (how) {
    case End::KILL_FRONTEND:
      return endFrontend();
    case End::KILL_ALL:
      return server->kill9();
    case End::KILL_BROKER:
      kill(server->brokerPid(), SIGKILL);
      EXPECT_EQ(server->waitForExit(), 128 + SIGKILL);
      break;
    case End::TERM:
    case End::USR2:
      EXPECT_EQ(server->stop(how == End::TERM ? SIGTERM : SIGUSR2), 0) << server->logs();
      EXPECT_NE(access(server->socketPath().c_str(), F_OK), 0);
      break;
    case End::KILL_LAUNCHER:
      return endByDeathOf(server->launcherPid());
    case End::KILL_SWEEPER:
      return endByDeathOf(server->helperPid("sweeper"));
    case End::KILL_PORTER:
      return endByDeathOf(server->helperPid("porter"));
    case End::KILL_OBSERVER:
      return endByDeathOf(server->helperPid("observer"));
  }
  awaitEnd();
}

void RecoveryHelperTest::endByDeathOf(pid_t pid) {
  ASSERT_GT(pid, 0);
  kill(pid, SIGKILL);
  EXPECT_EQ(server->waitForExit(), 1) << server->logs();
  awaitEnd();
}

void RecoveryHelperTest::awaitEnd() {
  EXPECT_TRUE(waitUntil([&]() { return server->helperPids().empty() && !server->findFrontend(); }));
}

void RecoveryHelperTest::start() {
  server->launch();
  helper.emplace(HelperConnection::take(*server));
  auto reply = helper->hello();
  ASSERT_TRUE(reply.has_value());
  ASSERT_EQ(reply->which, schema::HelperReply::DONE) << reply->text;
}

void RecoveryHelperTest::restart(End how) {
  end(how);
  if (how != End::KILL_FRONTEND) return start();
  helper.emplace(HelperConnection::take(*server));
  helper->hello();
}

std::vector<std::string> RecoveryHelperTest::whole() {
  auto list = helper->list();
  KJ_REQUIRE(list.has_value());
  return list->whole;
}

std::vector<std::string> RecoveryHelperTest::dying() {
  auto list = helper->list();
  KJ_REQUIRE(list.has_value());
  return list->dying;
}

void RecoveryHelperTest::expectAlive(const std::string& id, pid_t wshd) {
  for (int i = 0; i < 2; ++i) {
    auto adopted = helper->adopt(id);
    ASSERT_TRUE(adopted.has_value());
    ASSERT_EQ(adopted->which, schema::HelperReply::ADOPTED) << adopted->text << server->logs();
    EXPECT_EQ(adopted->wshd, wshd);
    ASSERT_GE(adopted->fds.size(), 3u);
    EXPECT_TRUE(wshdAnswers(adopted->fds[1]));
  }
}

void RecoveryHelperTest::expectGone(const std::string& id) {
  EXPECT_TRUE(waitUntil([&]() { return whole().empty() && dying().empty(); })) << server->logs();
  EXPECT_TRUE(waitUntil([&]() { return server->depotEntries().empty(); }));
  for (const auto& directory : server->cgroups())
    EXPECT_EQ(directory.find(id), std::string::npos) << directory;
  for (const auto& item : networkObjects(server->network()))
    EXPECT_EQ(item.find(id), std::string::npos) << item;
}

void RecoveryHelperTest::call(const HelperConnection::Fill& fill,
                              schema::HelperReply::Which expected) {
  auto reply = helper->call(fill);
  ASSERT_TRUE(reply.has_value()) << server->logs();
  ASSERT_EQ(reply->which, expected) << reply->text;
}

void RecoveryHelperTest::mapPort(const std::string& id, uint16_t hostPort, uint16_t containerPort) {
  call(
      [&](auto request) {
        auto map = request.initMapPort();
        map.setId(id.c_str());
        map.setHostPort(hostPort);
        map.setContainerPort(containerPort);
      },
      schema::HelperReply::DONE);
}

void RecoveryHelperTest::allowOut(const std::string& id, uint32_t first, uint32_t last,
                                  schema::Protocol protocol, bool log) {
  call(
      [&](auto request) {
        auto allow = request.initAllowOut();
        allow.setId(id.c_str());
        allow.setFirstAddress(first);
        allow.setLastAddress(last);
        allow.setProtocol(protocol);
        allow.setLog(log);
      },
      schema::HelperReply::DONE);
}

void RecoveryHelperTest::limitBandwidth(const std::string& id, uint64_t rate, uint64_t burst) {
  call(
      [&](auto request) {
        auto limit = request.initLimitBandwidth();
        limit.setId(id.c_str());
        limit.setRate(rate);
        limit.setBurst(burst);
      },
      schema::HelperReply::DONE);
}

bool wshdAnswers(int connection) {
  capnp::MallocMessageBuilder message;
  auto request = message.initRoot<schema::WshdRequest>();
  request.setSequence(77);
  request.setPing();
  try {
    sendPacket(connection, message);
    for (;;) {
      pollfd polled{connection, POLLIN, 0};
      if (poll(&polled, 1, patient(std::chrono::seconds(5)).count()) != 1) return false;
      KJ_IF_MAYBE (packet, receivePacket(connection)) {
        auto reply = packet->getRoot<schema::WshdMessage>();
        if (reply.getSequence() == 77) return reply.isDone();
      }
    }
  } catch (const kj::Exception&) {
    return false;
  }
}

std::vector<End> allEnds() {
  return {End::KILL_FRONTEND, End::KILL_BROKER,  End::KILL_ALL,    End::TERM,         End::USR2,
          End::KILL_LAUNCHER, End::KILL_SWEEPER, End::KILL_PORTER, End::KILL_OBSERVER};
}

std::string endName(const ::testing::TestParamInfo<End>& info) {
  constexpr const char* NAMES[] = {"frontendKilled", "brokerKilled", "allKilled",
                                   "term",           "usr2",         "launcherKilled",
                                   "sweeperKilled",  "porterKilled", "observerKilled"};
  return NAMES[static_cast<int>(info.param)];
}

}  // namespace warden::test
