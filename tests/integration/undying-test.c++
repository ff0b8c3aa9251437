// Containers that do not die, and what of a container cannot be removed: the server goes on without
// it, says so, and tries again; and so does the next.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/fd.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr char FREEZER[] = "/sys/fs/cgroup/freezer";

bool logHas(const TestServer& server, const std::string& operation, const std::string& id,
            const std::string& outcome) {
  for (const auto& line : splitLines(server.logs())) {
    if (line.find("\"request\":\"" + operation + "\"") != std::string::npos &&
        line.find("\"container\":\"" + id + "\"") != std::string::npos &&
        line.find("\"outcome\":\"" + outcome + "\"") != std::string::npos) {
      return true;
    }
  }
  return false;
}

class Frozen {
  // A container whose processes take no signal, not even SIGKILL, until they are thawed
  // (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
 public:
  Frozen(const TestServer& server, const std::string& id)
      : file(std::string(FREEZER) + "/" + server.cgroupParent() + "/instance-" + id +
             "/freezer.state") {
    writeFile(file, "FROZEN");
    frozen = waitUntil([&]() { return readFile(file) == "FROZEN\n"; });
  }
  ~Frozen() { thaw(); }

  bool isFrozen() const { return frozen; }
  void thaw() {
    if (frozen && fs::exists(file)) writeFile(file, "THAWED");
    frozen = false;
  }

 private:
  std::string file;
  bool frozen = false;
};

class UndyingTest : public ServerTest {
 protected:
  void SetUp() override {
    if (!fs::exists(std::string(FREEZER) + "/cgroup.procs")) {
      GTEST_SKIP() << "no version 1 freezer: with version 2, SIGKILL ends what is frozen";
    }
    ServerOptions options;
    options.slots = 2;
    start(options);
  }

  void TearDown() override {
    if (frozen) frozen->thaw();
    ServerTest::TearDown();
  }

  // The id of a container that runs a job and is frozen.
  std::string freezeOne() {
    TestClient client = connect();
    std::string id = client.create();
    client.spawn(id, "sleep 1000");
    frozen.emplace(server(), id);
    EXPECT_TRUE(frozen->isFrozen());
    return id;
  }

  uint64_t hostUid(pid_t pid) { return std::stoull(statusField(pid, "Uid")); }

  std::optional<Frozen> frozen;
};

TEST_F(UndyingTest, destroyOfOneHoldsUpNoOther) {
  std::string id = freezeOne();
  TestClient destroyer = connect();
  destroyer.send(destroyRequest(id));
  TestClient client = connect();
  client.setTimeout(seconds(3));
  std::string other = client.create();
  EXPECT_EQ(client.output(other, "echo fine"), "fine\n");
  client.destroy(other);
  EXPECT_FALSE(destroyer.hasInput(std::chrono::milliseconds(200)));
  frozen->thaw();
  destroyer.receive<DestroyResponse>();
  EXPECT_TRUE(logHas(server(), "destroy", id, "done"));
}

TEST_F(UndyingTest, newFrontendStartsWithoutItAndPassesOverItsSlot) {
  std::string id = freezeOne();
  uint64_t root = hostUid(server().wshdPid(id));
  TestClient destroyer = connect();
  destroyer.send(destroyRequest(id));
  EXPECT_FALSE(destroyer.hasInput(std::chrono::milliseconds(200)));
  server().replaceFrontend();
  TestClient client = connect();
  EXPECT_TRUE(client.list().empty());
  EXPECT_EQ(server().depotEntries(), std::vector<std::string>{id});
  for (int i = 0; i < 3; ++i) {
    std::string other = client.create();
    EXPECT_NE(hostUid(server().wshdPid(other)), root);
    EXPECT_EQ(client.output(other, "echo fine"), "fine\n");
    if (i == 0) {
      std::string message = client.expectError(CreateRequest());
      EXPECT_NE(message.find("belongs to a container that does not end"), std::string::npos)
          << message;
    }
    client.destroy(other);
  }
  // As soon as it can die, it does, and its slot is there again.
  frozen->thaw();
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
  client.create();
  client.create();
}

TEST_F(UndyingTest, oneThatDoesNotEndIsListedAlsoByANewFrontend) {
  std::string id = freezeOne();
  TestClient destroyer = connect();
  destroyer.send(destroyRequest(id));
  EXPECT_FALSE(destroyer.hasInput(std::chrono::milliseconds(1200)));
  auto expectListed = [&](bool withHandle) {
    TestClient client = connect();
    auto all = client.listAll();
    ASSERT_EQ(all.containers_size(), 1);
    EXPECT_EQ(all.handles_size(), 0);
    auto& one = all.containers(0);
    EXPECT_EQ(one.id(), id);
    EXPECT_EQ(one.has_handle(), withHandle);
    EXPECT_EQ(one.state(), "destroyed");
    EXPECT_EQ(one.held_up_by(), "its processes do not end");
    EXPECT_GE(one.seconds(), 1u);
    // A client that does not know of it sees nothing of it.
    EXPECT_EQ(client.call(ListRequest()).containers_size(), 0);
  };
  expectListed(true);
  server().replaceFrontend();
  expectListed(false);
  auto shown =
      runProgram({WARDEN_BIN_DIR "/warden", "--socket", server().socketPath(), "list", "--all"});
  EXPECT_EQ(shown.exitStatus, 0) << shown.out;
  EXPECT_EQ(shown.out.find(id + " destroyed  (for "), 0u) << shown.out;
  EXPECT_NE(shown.out.find("its processes do not end"), std::string::npos) << shown.out;
  frozen->thaw();
  EXPECT_TRUE(waitUntil([&]() { return connect().listAll().containers_size() == 0; }));
}

TEST_F(UndyingTest, aDestroyThatDoesNotEndIsAnsweredAndGoesOnInTheBackground) {
  std::string id = freezeOne();
  TestClient client = connect();
  client.setTimeout(seconds(45));
  std::string message = client.expectError(destroyRequest(id));
  EXPECT_NE(message.find("in the background"), std::string::npos) << message;
  EXPECT_EQ(client.listAll().containers_size(), 1);
  client.send(destroyRequest(id));
  EXPECT_FALSE(client.hasInput(std::chrono::milliseconds(200)));
  frozen->thaw();
  client.receive<DestroyResponse>();
  EXPECT_EQ(client.listAll().containers_size(), 0);
}

TEST_F(UndyingTest, serverEndsWithoutItAndTheNextStartRemovesIt) {
  std::string id = freezeOne();
  pid_t wshd = server().wshdPid(id);
  TestClient destroyer = connect();
  destroyer.send(destroyRequest(id));
  EXPECT_FALSE(destroyer.hasInput(std::chrono::milliseconds(200)));
  auto started = std::chrono::steady_clock::now();
  EXPECT_NE(server().stop(SIGTERM, seconds(60)), 0);
  EXPECT_TRUE(logHas(server(), "destroy", id, "failed")) << server().logs();
  EXPECT_NE(server().logs().find("its processes do not end"), std::string::npos);
  EXPECT_TRUE(isAlive(wshd));
  EXPECT_LT(std::chrono::steady_clock::now() - started, patient(seconds(45)));
  // Its tree and its cgroups are how the next start finds it.
  EXPECT_EQ(server().depotEntries(), std::vector<std::string>{id});

  // The next start thaws what it kills; what was being destroyed is not taken over.
  server().start();
  EXPECT_TRUE(connect().list().empty());
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries().empty(); }));
  EXPECT_TRUE(logHas(server(), "remove stale", id, "done")) << server().logs();
  EXPECT_FALSE(isAlive(wshd));
  warmUp(server());
  TestClient client = connect();
  client.create();
  client.create();
}

TEST_F(UndyingTest, aLauncherThatDoesNotAnswerEndsTheServer) {
  // Its late answer would be taken for the next one's: a container would get another's process.
  TestClient client = connect();
  client.create("there");
  pid_t launcher = server().launcherPid();
  kill(launcher, SIGSTOP);
  client.setTimeout(seconds(60));
  client.send(createRequest("late"));
  EXPECT_NE(server().waitForExit(seconds(60)), 0);
  EXPECT_NE(server().logs().find("the launcher does not answer"), std::string::npos)
      << server().logs();
  kill(launcher, SIGCONT);
  EXPECT_TRUE(waitUntil([&]() { return server().helperPids().empty(); }));
  server().start();
  EXPECT_EQ(connect().list(), std::vector<std::string>{"there"});
  destroyAll(server());
  warmUp(server());
  takeNewBaseline();
}

// --- what cannot be removed

class LeftoverTest : public ServerTest {
 protected:
  void SetUp() override { start(); }

  void expectGoodService() {
    warmUp(server());
    EXPECT_TRUE(isAlive(server().brokerPid()));
  }

  void expectRemoved(const std::string& id) {
    EXPECT_TRUE(waitUntil([&]() {
      auto entries = server().depotEntries();
      return std::none_of(entries.begin(), entries.end(), [&](const std::string& entry) {
        return entry.find(id) != std::string::npos;
      });
    }));
    for (const auto& directory : server().cgroups())
      EXPECT_EQ(directory.find(id), std::string::npos) << directory;
    EXPECT_TRUE(logHas(server(), "remove stale", id, "done")) << server().logs();
    expectGoodService();
  }
};

TEST_F(LeftoverTest, aForeignProcessInTheCgroupsIsToldAndRemovedAfterwards) {
  TestClient client = connect();
  std::string id = client.create();
  pid_t foreign = fork();
  if (foreign == 0) {
    for (;;)
      pause();
  }
  bool joined = false;
  for (const auto& directory : server().cgroups()) {
    if (directory.find("instance-" + id) == std::string::npos) continue;
    writeFile(directory + "/cgroup.procs", std::to_string(foreign));
    joined = true;
  }
  ASSERT_TRUE(joined);
  client.destroy(id);
  EXPECT_TRUE(logHas(server(), "destroy", id, "failed")) << server().logs();
  EXPECT_NE(server().logs().find("a cgroup cannot be removed"), std::string::npos);
  EXPECT_TRUE(client.list().empty());
  expectGoodService();
  int status = 0;
  EXPECT_EQ(waitpid(foreign, &status, 0), foreign);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  expectRemoved(id);
}

TEST_F(LeftoverTest, aTreeThatCannotBeMovedAwayIsToldAndRemovedWhenItCan) {
  TestClient client = connect();
  std::string id = client.create();
  // The place for removed trees takes none: as when its disk is full.
  std::string place = server().depotPath() + "/.removed";
  Fd directory(open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int flags = 0;
  if (ioctl(directory, FS_IOC_GETFLAGS, &flags) < 0) GTEST_SKIP() << "a file system without flags";
  int immutable = flags | FS_IMMUTABLE_FL;
  if (ioctl(directory, FS_IOC_SETFLAGS, &immutable) < 0) GTEST_SKIP() << "no immutable files here";
  KJ_DEFER(ioctl(directory, FS_IOC_SETFLAGS, &flags));
  client.destroy(id);
  EXPECT_TRUE(logHas(server(), "destroy", id, "failed")) << server().logs();
  EXPECT_NE(server().logs().find("its directory cannot be moved away"), std::string::npos);
  EXPECT_EQ(server().depotEntries(), std::vector<std::string>{id});
  EXPECT_EQ(client.output(client.create(), "echo fine"), "fine\n");
  ASSERT_EQ(ioctl(directory, FS_IOC_SETFLAGS, &flags), 0);
  expectRemoved(id);
}

TEST_F(LeftoverTest, aPlaceForRemovedTreesThatIsGoneIsToldAndMadeAgainAtTheNextStart) {
  TestClient client = connect();
  std::string id = client.create();
  ASSERT_TRUE(
      waitUntil([&]() { return rmdir((server().depotPath() + "/.removed").c_str()) == 0; }));
  client.destroy(id);
  EXPECT_TRUE(logHas(server(), "destroy", id, "failed")) << server().logs();
  EXPECT_EQ(client.output(client.create(), "echo fine"), "fine\n");
  destroyAll(server());
  EXPECT_EQ(server().stop(), 0) << server().logs();
  server().start();
  expectRemoved(id);
  takeNewBaseline();
}

}  // namespace
}  // namespace warden::test
