// What survives whose end: frontend, helper, all of it at once; nothing leaks.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RestartTest : public ServerTest {
 protected:
  void SetUp() override { start(); }

  struct Busy {
    std::string handle;
    pid_t wshd;
    std::vector<uint32_t> jobs;
  };

  std::vector<Busy> makeBusyContainers(int count) {
    std::vector<Busy> made;
    TestClient client = connect();
    for (int i = 0; i < count; ++i) {
      std::string handle = client.create();
      made.push_back(
          {handle,
           server().wshdPid(handle),
           {client.spawn(handle, "trap '' TERM; while true; do sleep 1; done", i % 2 == 0),
            client.spawn(handle, "yes > /tmp/file & sleep 0.2; kill %1; sleep 1000")}});
    }
    return made;
  }

  void expectAlive(const std::vector<Busy>& containers) {
    TestClient client = connect();
    std::vector<std::string> handles;
    for (const auto& container : containers)
      handles.push_back(container.handle);
    std::sort(handles.begin(), handles.end());
    auto found = client.list();
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, handles) << server().logs();
    for (const auto& container : containers) {
      EXPECT_EQ(server().wshdPid(container.handle), container.wshd);
      EXPECT_TRUE(isAlive(container.wshd));
      EXPECT_EQ(client.output(container.handle, "echo fine"), "fine\n");
      auto info = client.info(container.handle);
      EXPECT_EQ(info.state(), "active");
      EXPECT_EQ(std::vector<uint32_t>(info.job_ids().begin(), info.job_ids().end()),
                container.jobs);
    }
  }

  void expectWorkingServer() {
    warmUp(server());
    destroyAll(server());
    EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
    takeNewBaseline();
  }
};

TEST_F(RestartTest, frontendIsStartedAgainAndItsContainersLiveOn) {
  auto containers = makeBusyContainers(3);
  server().replaceFrontend();
  expectAlive(containers);
  EXPECT_TRUE(server().brokerPid() > 0 && isAlive(server().brokerPid()));
  // TearDown destroys them, and compares with the state before.
}

TEST_F(RestartTest, frontendIsStartedAgainEachTime) {
  std::vector<Busy> containers;
  for (int i = 0; i < 4; ++i) {
    for (auto& container : makeBusyContainers(1))
      containers.push_back(container);
    server().replaceFrontend();
    expectAlive(containers);
  }
}

TEST_F(RestartTest, frontendKilledWhileItCreatesLeavesNothingHalfMade) {
  for (int i = 0; i < 5; ++i) {
    {
      TestClient client = connect();
      std::vector<TestClient> clients;
      for (int j = 0; j < 4; ++j) {
        clients.push_back(connect());
        clients.back().send(CreateRequest());
      }
      std::this_thread::sleep_for(milliseconds(i * 3));
      server().replaceFrontend();
    }
    // The new frontend may have served connections that the old one had not accepted: what is there
    // is known, whole, and can be destroyed.
    EXPECT_TRUE(waitUntil([&]() {
      destroyAll(server());
      return server().depotEntries().empty();
    }));
  }
}

TEST_F(RestartTest, everythingKilledAndStartedAgainHasItsContainers) {
  auto containers = makeBusyContainers(3);
  for (int i = 0; i < 3; ++i) {
    server().kill9();
    server().start();
    expectAlive(containers);
  }
  expectWorkingServer();
  for (const auto& directory : server().cgroups())
    EXPECT_EQ(directory.find("instance-"), std::string::npos) << directory;
}

TEST_F(RestartTest, stoppedAndStartedAgainHasItsContainers) {
  auto containers = makeBusyContainers(3);
  for (int signal : {SIGTERM, SIGINT, SIGUSR2}) {
    EXPECT_EQ(server().stop(signal), 0) << server().logs();
    EXPECT_NE(access(server().socketPath().c_str(), F_OK), 0);
    server().start();
    expectAlive(containers);
  }
  expectWorkingServer();
}

TEST_F(RestartTest, brokerKilledEndsTheRestOfTheServerOnly) {
  auto containers = makeBusyContainers(2);
  auto helpers = server().helperPids();
  pid_t frontend = server().frontendPid();
  kill(server().brokerPid(), SIGKILL);
  server().waitForExit();
  EXPECT_TRUE(waitUntil([&]() {
    if (isAlive(frontend)) return false;
    for (pid_t pid : helpers) {
      if (isAlive(pid)) return false;
    }
    return true;
  })) << "frontend, launcher, porter or sweeper outlive the broker";
  server().start();
  expectAlive(containers);
  expectWorkingServer();
}

TEST_F(RestartTest, requestsUnderWayAreToldThatTheHelperHasGone) {
  std::string handle = connect().create();
  std::vector<TestClient> clients;
  for (int i = 0; i < 8; ++i)
    clients.push_back(connect());
  pid_t broker = server().brokerPid();
  kill(broker, SIGSTOP);
  NetInRequest request;
  request.set_handle(handle);
  for (auto& client : clients)
    client.send(request);
  std::this_thread::sleep_for(milliseconds(100));
  kill(broker, SIGKILL);
  for (auto& client : clients)
    EXPECT_EQ(client.receiveError().find("the privileged helper has gone"), 0u);
  server().waitForExit();
  server().start();
  EXPECT_EQ(connect().list(), std::vector<std::string>{handle});
  expectWorkingServer();
}

// Of the helper's own five processes none can do without another, and none is replaced.
class HelperDeathTest : public RestartTest {
 protected:
  void expectThatItsEndIsTheServersEnd(pid_t victim, const std::string& said) {
    ASSERT_GT(victim, 0);
    auto containers = makeBusyContainers(3);
    EXPECT_EQ(server().depotEntries().size(), 3u);
    auto all = server().helperPids();
    all.push_back(server().frontendPid());
    kill(victim, SIGKILL);
    EXPECT_EQ(server().waitForExit(std::chrono::seconds(10)), 1) << server().logs();
    // The operator reads it where the helper's other lines are.
    EXPECT_NE(readFile(server().logPath() + ".audit").find(said), std::string::npos)
        << server().logs();
    EXPECT_TRUE(waitUntil([&]() {
      for (pid_t pid : all) {
        if (isAlive(pid)) return false;
      }
      return true;
    })) << "frontend, broker, launcher, porter or sweeper outlive it";
    EXPECT_NE(access(server().socketPath().c_str(), F_OK), 0);
    server().start();
    expectAlive(containers);
    expectWorkingServer();
  }
};

TEST_F(HelperDeathTest, launcherKilledEndsTheServerAndNoContainer) {
  expectThatItsEndIsTheServersEnd(server().launcherPid(), "the launcher has died");
}

TEST_F(HelperDeathTest, sweeperKilledEndsTheServerAndNoContainer) {
  expectThatItsEndIsTheServersEnd(server().helperPid("sweeper"), "the sweeper has died");
}

TEST_F(HelperDeathTest, porterKilledEndsTheServerAndNoContainer) {
  expectThatItsEndIsTheServersEnd(server().helperPid("porter"), "the porter has died");
}

TEST_F(HelperDeathTest, observerKilledEndsTheServerAndNoContainer) {
  expectThatItsEndIsTheServersEnd(server().helperPid("observer"), "the observer has died");
}

TEST_F(HelperDeathTest, observerKilledWhileItIsAskedIsNoErrorOfTheRequest) {
  pid_t observer = server().helperPid("observer");
  kill(observer, SIGSTOP);
  TestClient client = connect();
  client.send(CreateRequest());
  std::this_thread::sleep_for(milliseconds(100));
  kill(observer, SIGKILL);
  try {
    client.receive<CreateResponse>();
    ADD_FAILURE() << "it was created";
  } catch (const ServerError& e) {
    EXPECT_NE(std::string(e.what()).find("the privileged helper has gone"), std::string::npos)
        << e.what();
  } catch (const ConnectionClosed&) {
  }
  EXPECT_EQ(server().waitForExit(std::chrono::seconds(10)), 1) << server().logs();
  server().start();
  EXPECT_TRUE(connect().list().empty());
  expectWorkingServer();
}

TEST_F(HelperDeathTest, launcherKilledDuringCreatesLeavesNothingHalfMade) {
  std::vector<TestClient> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(connect());
    clients.back().send(CreateRequest());
  }
  std::this_thread::sleep_for(milliseconds(5));
  pid_t frontend = server().frontendPid();
  kill(server().launcherPid(), SIGKILL);
  EXPECT_EQ(server().waitForExit(seconds(10)), 1) << server().logs();
  EXPECT_TRUE(waitUntil([&]() { return server().helperPids().empty() && !isAlive(frontend); }));
  server().start();
  // What is there can be used, and destroyed.
  {
    TestClient client = connect();
    for (const auto& handle : client.list())
      EXPECT_EQ(client.output(handle, "echo fine"), "fine\n");
  }
  expectWorkingServer();
}

TEST_F(RestartTest, wshdKilledEndsItsContainerAndNoOther) {
  TestClient client = connect();
  std::string doomed = client.create();
  std::string other = client.create();
  uint32_t job = client.spawn(doomed, "sleep 1000");
  kill(server().wshdPid(doomed), SIGKILL);
  EXPECT_NE(client.link(doomed, job).exit_status(), 0u);
  EXPECT_EQ(client.output(other, "echo fine"), "fine\n");
  // Whatever state it is in now, it can be destroyed, or has been.
  try {
    client.destroy(doomed);
  } catch (const ServerError& e) {
    EXPECT_STREQ(e.what(), "unknown handle");
  }
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().size() == 1; }));
}

TEST_F(RestartTest, serverStartsOnASocketPathThatADeadOneLeft) {
  server().kill9();
  server().start();
  connect().ping();
  expectWorkingServer();
}

TEST_F(RestartTest, wholeProcessGroupKilledAndStartedAgainHasItsContainers) {
  auto containers = makeBusyContainers(2);
  pid_t group = server().brokerPid();
  kill(-group, SIGKILL);
  server().waitForExit();
  server().start();
  expectAlive(containers);
  expectWorkingServer();
}

class RestartOfFrontendTest : public RestartTest, public ::testing::WithParamInterface<int> {
 protected:
  size_t processCount(const std::string& id) {
    return splitLines(cgroupValue(server(), id, "memory", "cgroup.procs")).size();
  }
};

// A stop is over for its client when the jobs have ended, and goes on for what has left them.
TEST_P(RestartOfFrontendTest, aStopGoesOnForProcessesThatOutliveTheirJob) {
  std::string handle = connect().create();
  TestClient client = connect();
  client.spawn(handle,
               "setsid sh -c 'trap \"\" TERM; touch ready; while :; do sleep 1; done' & "
               "while [ ! -e ready ]; do sleep 0.1; done; touch spawned; wait");
  client.output(handle, "while [ ! -e spawned ]; do sleep 0.1; done");
  client.stop(handle);
  EXPECT_GT(processCount(handle), 1u);
  server().replaceFrontend(GetParam());
  EXPECT_EQ(connect().info(handle).state(), "stopped");
  EXPECT_TRUE(waitUntil([&]() { return processCount(handle) == 1; }));
}

INSTANTIATE_TEST_SUITE_P(, RestartOfFrontendTest, ::testing::Values(SIGKILL, SIGUSR2),
                         [](const auto& info) {
                           return info.param == SIGKILL ? "killed" : "drained";
                         });

TEST_F(RestartTest, noGraceTimeEndsWhileTheFrontendDrains) {
  TestClient older = connect();
  older.create("old");
  older.spawn("old", "trap '' TERM; while :; do sleep 1; done");
  older.ping();
  {
    TestClient client = connect();
    auto request = createRequest("new");
    request.set_grace_time(3);
    client.call(request);
    // It drains until this is answered, after ten seconds.
    older.send(stopRequest("old"));
    EXPECT_TRUE(waitUntil([&]() { return connect().info("old").state() == "stopped"; }));
    server().replaceFrontend(SIGUSR2);
  }
  auto handles = connect().list();
  std::sort(handles.begin(), handles.end());
  EXPECT_EQ(handles, (std::vector<std::string>{"new", "old"}));
}

}  // namespace
}  // namespace warden::test
