// What survives whose end: frontend, helper, all of it at once; nothing leaks.

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class RestartTest : public ServerTest {
 protected:
  void SetUp() override { start(); }

  void makeBusyContainers(int count) {
    TestClient client = connect();
    for (int i = 0; i < count; ++i) {
      std::string handle = client.create();
      client.spawn(handle, "trap '' TERM; while true; do sleep 1; done", i % 2 == 0);
      client.spawn(handle, "yes > /tmp/file & sleep 0.2; kill %1; sleep 1000");
    }
  }

  void expectWorkingServer() {
    warmUp(server());
    takeNewBaseline();
  }
};

TEST_F(RestartTest, frontendIsStartedAgainAndItsContainersAreDestroyed) {
  makeBusyContainers(3);
  pid_t before = server().frontendPid();
  kill(before, SIGKILL);
  ASSERT_TRUE(waitUntil([&]() {
    auto now = server().findFrontend();
    return now.has_value() && *now != before;
  }));
  server().waitUntilServing();
  EXPECT_TRUE(connect().list().empty());
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
  EXPECT_EQ(server().brokerPid() > 0 && isAlive(server().brokerPid()), true);
  // TearDown compares with the state before: nothing of the containers may be left.
}

TEST_F(RestartTest, frontendIsStartedAgainEachTime) {
  for (int i = 0; i < 4; ++i) {
    pid_t before = server().frontendPid();
    makeBusyContainers(1);
    kill(before, SIGKILL);
    ASSERT_TRUE(waitUntil(
        [&]() {
          auto now = server().findFrontend();
          return now.has_value() && *now != before;
        },
        seconds(20)));
    server().waitUntilServing();
  }
}

TEST_F(RestartTest, frontendKilledWhileItCreatesLeavesNothingHalfMade) {
  for (int i = 0; i < 5; ++i) {
    pid_t before = server().frontendPid();
    {
      TestClient client = connect();
      std::vector<TestClient> clients;
      for (int j = 0; j < 4; ++j) {
        clients.push_back(connect());
        clients.back().send(CreateRequest());
      }
      std::this_thread::sleep_for(milliseconds(i * 3));
      kill(before, SIGKILL);
    }
    ASSERT_TRUE(waitUntil(
        [&]() {
          auto now = server().findFrontend();
          return now.has_value() && *now != before;
        },
        seconds(20)));
    server().waitUntilServing();
    // The new frontend may have served connections that the old one had not accepted: what is there
    // is known, whole, and can be destroyed.
    EXPECT_TRUE(waitUntil([&]() {
      TestClient client = connect();
      for (const auto& handle : client.list())
        client.destroy(handle);
      return server().depotEntries().empty();
    }));
  }
}

TEST_F(RestartTest, everythingKilledIsCleanedAtTheNextStart) {
  makeBusyContainers(3);
  auto entries = server().depotEntries();
  EXPECT_EQ(entries.size(), 3u);
  server().kill9();
  server().start();
  EXPECT_TRUE(connect().list().empty());
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
  expectWorkingServer();
  for (const auto& directory : server().cgroups()) {
    for (const auto& id : entries)
      EXPECT_EQ(directory.find(id), std::string::npos) << directory;
  }
}

TEST_F(RestartTest, everythingKilledTwiceIsCleanedToo) {
  for (int i = 0; i < 2; ++i) {
    makeBusyContainers(2);
    server().kill9();
    server().start();
  }
  EXPECT_TRUE(connect().list().empty());
  expectWorkingServer();
}

TEST_F(RestartTest, brokerKilledEndsTheRestAndIsCleanedAtTheNextStart) {
  makeBusyContainers(2);
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
  EXPECT_TRUE(connect().list().empty());
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
  expectWorkingServer();
}

// Of the helper's own four processes none can do without another, and none is replaced.
class HelperDeathTest : public RestartTest {
 protected:
  void expectThatItsEndIsTheServersEnd(pid_t victim, const std::string& said) {
    ASSERT_GT(victim, 0);
    makeBusyContainers(3);
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
    EXPECT_TRUE(connect().list().empty());
    EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
    expectWorkingServer();
  }
};

TEST_F(HelperDeathTest, launcherKilledEndsTheServerAndAllIsRemoved) {
  expectThatItsEndIsTheServersEnd(server().launcherPid(), "the launcher has died");
}

TEST_F(HelperDeathTest, sweeperKilledEndsTheServerAndAllIsRemoved) {
  expectThatItsEndIsTheServersEnd(server().helperPid("sweeper"), "the sweeper has died");
}

TEST_F(HelperDeathTest, porterKilledEndsTheServerAndAllIsRemoved) {
  expectThatItsEndIsTheServersEnd(server().helperPid("porter"), "the porter has died");
}

TEST_F(HelperDeathTest, observerKilledEndsTheServerAndAllIsRemoved) {
  expectThatItsEndIsTheServersEnd(server().helperPid("observer"), "the observer has died");
}

TEST_F(HelperDeathTest, launcherKilledDuringCreatesEndsTheServerAndAllIsRemoved) {
  std::vector<TestClient> clients;
  for (int i = 0; i < 8; ++i) {
    clients.push_back(connect());
    clients.back().send(CreateRequest());
  }
  std::this_thread::sleep_for(milliseconds(5));
  kill(server().launcherPid(), SIGKILL);
  EXPECT_EQ(server().waitForExit(seconds(10)), 1) << server().logs();
  EXPECT_TRUE(waitUntil([&]() {
    auto remains = server().remains();
    return std::none_of(remains.begin(), remains.end(),
                        [](const std::string& item) { return item.compare(0, 7, "process") == 0; });
  }));
  server().start();
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
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

TEST_F(RestartTest, wholeProcessGroupKilledIsCleanedAtTheNextStart) {
  makeBusyContainers(2);
  pid_t group = server().brokerPid();
  kill(-group, SIGKILL);
  server().waitForExit();
  server().start();
  EXPECT_TRUE(connect().list().empty());
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
  expectWorkingServer();
}

}  // namespace
}  // namespace warden::test
