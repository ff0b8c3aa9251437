// What runs out: space and inodes of the depot, descriptors, processes; and a depot that is
// read-only. Whoever asks is told, all else goes on, and when there is some again, all works and
// nothing has been lost.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>
#include <thread>

#include "tests/support/depot.h"
#include "tests/support/limits.h"
#include "tests/support/server-test.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class ExhaustionTest : public ServerTest {
 protected:
  void expectGoodService() {
    TestClient client = connect();
    std::string handle = client.create();
    EXPECT_EQ(client.output(handle, "echo fine"), "fine\n");
    client.destroy(handle);
  }

  static void expectText(const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
    EXPECT_EQ(message.find("internal error"), std::string::npos) << message;
  }
};

// --- the disk

class DiskFullTest : public ExhaustionTest {
 protected:
  void SetUp() override { startWith({{"server.quota", "{disk_quota_enabled: false}"}}); }
  void beforeStart(TestServer& server) override { depot.emplace(server.depotPath(), 16 << 20); }
  void afterStop(TestServer& server) override {
    EXPECT_TRUE(waitUntil([&]() { return server.depotEntries().empty(); }));
    depot.reset();
  }

  size_t timesLogged(const std::string& text) {
    std::string logs = server().logs();
    size_t count = 0;
    for (size_t at = 0; (at = logs.find(text, at)) != std::string::npos; at += text.size())
      ++count;
    return count;
  }

  std::optional<SmallDepot> depot;
};

TEST_F(DiskFullTest, aCreateSaysSoAndLeavesNothing) {
  TestClient client = connect();
  client.create("before");
  auto entries = server().depotEntries();
  depot->fill();
  for (int i = 0; i < 3; ++i) {
    std::string message = client.expectError(createRequest("full"));
    expectText(message, "No space left on device");
    expectText(message, "free space or inodes where the depot is");
  }
  EXPECT_TRUE(waitUntil([&]() { return server().depotEntries() == entries; }));
  EXPECT_EQ(client.list(), std::vector<std::string>{"before"});
  EXPECT_EQ(client.run("before", "exit 3").exit_status(), 3u);
  depot->empty();
  client.create("full");
}

TEST_F(DiskFullTest, aJobWhoseOutputCannotBeKeptEndsAndOthersGoOn) {
  TestClient client = connect();
  client.create("c");
  uint32_t quiet = client.spawn("c", "sleep 2; exit 7");
  depot->fill();
  auto answer =
      client.run("c",
                 "i=0; while [ $i -lt 10000 ]; do echo 0123456789012345678901234567890123456789; "
                 "i=$((i + 1)); done; sleep 100");
  EXPECT_EQ(answer.exit_status(), 255u);
  EXPECT_TRUE(hasEvent(client.info("c"), "command output could not be stored"));
  EXPECT_EQ(client.run("c", "exit 3").exit_status(), 3u);
  EXPECT_EQ(client.link("c", quiet).exit_status(), 7u);
  depot->empty();
  EXPECT_EQ(client.output("c", "echo again"), "again\n");
}

TEST_F(DiskFullTest, whatHappenedMeanwhileIsKnownToALaterFrontend) {
  TestClient client = connect();
  client.create("stopped");
  client.create("limited");
  uint32_t job = client.spawn("limited", "sleep 5; echo late; exit 9");
  depot->fill();
  client.stop("stopped");
  EXPECT_EQ(limitMemory(client, "limited", 64 << 20), uint64_t(64 << 20));
  depot->empty();
  // Written when there is room, although nothing else happens.
  EXPECT_TRUE(waitUntil([&]() {
    size_t failed = timesLogged("its snapshot could not be written");
    return failed > 0 && timesLogged("its snapshot is written") == failed;
  }));
  server().replaceFrontend();
  TestClient later = connect();
  EXPECT_EQ(later.info("stopped").state(), "stopped");
  EXPECT_EQ(limitMemory(later, "limited"), uint64_t(64 << 20));
  auto answer = later.link("limited", job);
  EXPECT_EQ(answer.exit_status(), 9u);
  EXPECT_EQ(answer.stdout(), "late\n");
}

TEST_F(DiskFullTest, aFrontendStartsAndContainersAreDestroyed) {
  TestClient client = connect();
  client.create("c");
  client.create("d");
  uint32_t job = client.spawn("c", "sleep 4; exit 5");
  depot->fill();
  server().replaceFrontend();
  TestClient later = connect();
  EXPECT_EQ(later.list(), (std::vector<std::string>{"c", "d"}));
  EXPECT_EQ(later.link("c", job).exit_status(), 5u);
  later.destroy("d");
  EXPECT_EQ(later.list(), std::vector<std::string>{"c"});
  depot->empty();
  expectGoodService();
}

// --- a depot that cannot be written to

TEST_F(DiskFullTest, readOnlyDepotIsSaidAndServedAgain) {
  TestClient client = connect();
  client.create("c");
  client.run("c", "true");  // which makes the home directory
  if (!depot->setReadOnly(true)) GTEST_SKIP() << "a file of the depot is open for writing";
  std::string message = client.expectError(CreateRequest());
  expectText(message, "Read-only file system");
  EXPECT_EQ(client.run("c", "exit 3").exit_status(), 3u);
  EXPECT_EQ(client.run("c", "echo lost; sleep 100").exit_status(), 255u);
  EXPECT_EQ(client.info("c").state(), "active");
  client.stop("c", false, true);
  EXPECT_TRUE(depot->setReadOnly(false));
  EXPECT_TRUE(waitUntil(
      [&]() { return server().logs().find("its snapshot is written") != std::string::npos; }));
  server().replaceFrontend();
  EXPECT_EQ(connect().info("c").state(), "stopped");
  expectGoodService();
}

// --- descriptors

class DescriptorsTest : public ExhaustionTest {
 protected:
  static constexpr uint32_t SLOTS = 20;

  void startWithLimit(uint32_t files, std::map<std::string, std::string> config) {
    ServerOptions options;
    options.descriptors = files;
    options.slots = SLOTS;
    options.config = std::move(config);
    start(options);
  }
};

TEST_F(DescriptorsTest, aCreateThatHasNoneSaysSoAndAllElseGoesOn) {
  startWithLimit(128 + 6 * SLOTS, {{"frontend.max_connections", "100"}});
  TestClient client = connect();
  std::vector<std::string> handles;
  std::string message;
  for (int i = 0; i < int(SLOTS) && message.empty(); ++i) {
    client.send(createRequest(std::to_string(i)));
    auto frame = client.receiveFrame();
    if (frame.type == Message::Create) {
      handles.push_back(std::to_string(i));
    } else {
      ErrorResponse error;
      error.ParseFromString(frame.payload);
      message = error.message();
    }
  }
  ASSERT_FALSE(message.empty()) << "all containers fit";
  EXPECT_GT(handles.size(), 5u);
  expectText(message, "open files");
  for (auto& handle : handles)
    EXPECT_EQ(client.info(handle).state(), "active");
  client.destroy(handles.back());
  client.destroy(handles.front());
  EXPECT_EQ(client.output(client.create(), "echo fine"), "fine\n");
  pid_t broker = server().brokerPid();
  server().replaceFrontend();
  EXPECT_EQ(connect().list().size(), handles.size() - 1);
  EXPECT_TRUE(isAlive(broker));
}

TEST_F(DescriptorsTest, aFrontendThatStartsWhenAllAreTakenKeepsContainersAndJobs) {
  startWithLimit(128 + 6 * SLOTS, {{"frontend.max_connections", "100"}});
  std::map<uint32_t, std::string> jobs;
  std::vector<std::string> handles;
  {
    TestClient client = connect();
    for (int i = 0; i < 5; ++i)
      handles.push_back(client.create());
    // Jobs that have ended hold less than they need when they are taken over.
    for (int i = 0;; ++i) {
      auto& handle = handles[i % handles.size()];
      client.send(spawnRequest(handle, "echo fine; exit 7"));
      auto frame = client.receiveFrame();
      if (frame.type == Message::Error) break;
      SpawnResponse response;
      response.ParseFromString(frame.payload);
      jobs[response.job_id()] = handle;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  EXPECT_GT(jobs.size(), 5u);
  server().replaceFrontend();
  TestClient client = connect();
  for (auto& handle : handles)
    EXPECT_EQ(client.info(handle).state(), "active");
  for (auto& [id, handle] : jobs) {
    auto answer = client.link(handle, id);
    EXPECT_EQ(answer.exit_status(), 7u);
    EXPECT_EQ(answer.stdout(), "fine\n");
  }
  EXPECT_EQ(client.output(client.create(), "echo fine"), "fine\n");
}

TEST_F(DescriptorsTest, connectionsBeyondThemAreRefusedAndServedLater) {
  startWithLimit(128 + 6 * SLOTS, {});
  TestClient early = connect();
  std::string handle = early.create();
  {
    std::vector<TestClient> many;
    for (int i = 0; i < 400; ++i)
      many.push_back(connect());
    EXPECT_EQ(early.output(handle, "echo fine"), "fine\n");
    early.destroy(early.create());
  }
  EXPECT_TRUE(waitUntil([&]() {
    try {
      connect().ping();
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }));
}

// --- processes

class PidsTest : public ExhaustionTest {
 protected:
  static constexpr char PIDS[] = "/sys/fs/cgroup/pids";

  void SetUp() override {
    if (!fs::exists(std::string(PIDS) + "/cgroup.procs")) {
      GTEST_SKIP() << "no version 1 pids controller";
    }
    cgroup = std::string(PIDS) + "/" + CGROUP_PREFIX + "outer-" + std::to_string(getpid());
    fs::create_directory(cgroup);
    fs::path wrapper =
        testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-pids";
    writeFile(wrapper, "#!/bin/sh\necho $$ > " + cgroup +
                           "/cgroup.procs\nexec " WARDEN_BIN_DIR "/warden-privhelper \"$@\"\n");
    fs::permissions(wrapper, fs::perms(0755));
    ServerOptions options;
    options.helper = wrapper;
    options.config["privhelper.wshd_path"] = WARDEN_BIN_DIR "/warden-wshd";
    options.config["privhelper.frontend_path"] = WARDEN_BIN_DIR "/warden-frontend";
    start(options);
    fs::remove(wrapper);
  }

  void afterStop(TestServer&) override {
    EXPECT_TRUE(waitUntil([&]() { return rmdir(cgroup.c_str()) == 0; })) << cgroup;
  }

  void exhaust() { writeFile(cgroup + "/pids.max", readFile(cgroup + "/pids.current")); }
  void relax() { writeFile(cgroup + "/pids.max", "max"); }

  std::string cgroup;
};

TEST_F(PidsTest, aCreateSaysSoAndContainersGoOn) {
  TestClient client = connect();
  client.create("c");
  exhaust();
  std::string message = client.expectError(createRequest("d"));
  expectText(message, "Resource temporarily unavailable");
  expectText(message, "raise the host's limit on processes");
  EXPECT_EQ(client.output("c", "echo fine"), "fine\n");
  EXPECT_EQ(client.list(), std::vector<std::string>{"c"});
  relax();
  client.create("d");
  client.destroy("c");
}

TEST_F(PidsTest, aFrontendThatCannotBeStartedIsWhenItCan) {
  TestClient client = connect();
  client.create("c");
  uint32_t job = client.spawn("c", "sleep 3; exit 4");
  pid_t before = server().frontendPid();
  writeFile(cgroup + "/pids.max", "1");
  kill(before, SIGKILL);
  EXPECT_TRUE(waitUntil([&]() {
    return server().logs().find("the frontend could not be started") != std::string::npos;
  })) << server().logs();
  relax();
  ASSERT_TRUE(waitUntil([&]() { return server().findFrontend().has_value(); }));
  server().waitUntilServing();
  EXPECT_EQ(connect().link("c", job).exit_status(), 4u);
}

}  // namespace
}  // namespace warden::test
