// A frontend that cannot be started, or ends as soon as it is: the helper goes on trying, at a
// bearable rate, and everything is in order meanwhile.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::vector<std::string> sorted(std::vector<std::string> texts) {
  std::sort(texts.begin(), texts.end());
  return texts;
}

size_t countInLogs(const TestServer& server, const std::string& text) {
  size_t count = 0;
  std::string logs = server.logs();
  for (size_t i = logs.find(text); i != std::string::npos; i = logs.find(text, i + 1))
    ++count;
  return count;
}

// A start at once, and then one each half second.
void expectBearableRetries(const TestServer& server) {
  size_t before = countInLogs(server, "frontend started, pid");
  std::this_thread::sleep_for(seconds(3));
  size_t tries = countInLogs(server, "frontend started, pid") - before;
  EXPECT_GE(tries, 3u) << server.logs();
  EXPECT_LE(tries, 7u) << server.logs();
  EXPECT_GE(countInLogs(server, "frontend ended, pid"), tries);
  EXPECT_TRUE(isAlive(server.brokerPid()));
}

class FrontendStartTest : public ServerTest {
 protected:
  ServerOptions options;

  // A frontend's program of this test's own.
  std::string copyFrontend() {
    copy = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + ".frontend";
    fs::copy_file(WARDEN_BIN_DIR "/warden-frontend", copy, fs::copy_options::overwrite_existing);
    chmod(copy.c_str(), 0755);
    options.config["privhelper.frontend_path"] = copy;
    return copy;
  }

  void TearDown() override {
    ServerTest::TearDown();
    if (!copy.empty()) unlink(copy.c_str());
  }

 private:
  std::string copy;
};

TEST_F(FrontendStartTest, triesAgainWithPausesWhenTheFrontendEndsAtOnce) {
  options.config["privhelper.frontend_path"] = "/bin/false";
  TestServer server(options);
  server.launch();
  ASSERT_TRUE(waitUntil([&]() { return countInLogs(server, "frontend ended, pid") > 0; }));
  expectBearableRetries(server);
  EXPECT_EQ(server.helperPids().size(), 5u);
  expectCleanStop(server);
}

TEST_F(FrontendStartTest, saysWhyAProgramCannotBeExecuted) {
  std::string program = copyFrontend();
  writeFile(program, "no program", 0755);
  TestServer server(options);
  server.launch();
  ASSERT_TRUE(waitUntil([&]() { return countInLogs(server, "starting the frontend: ") > 0; }));
  EXPECT_GT(countInLogs(server, "Exec format error"), 0u) << server.logs();
  expectBearableRetries(server);
  expectCleanStop(server, SIGINT);
}

TEST_F(FrontendStartTest, comesBackWithItsContainersWhenTheProgramCanBeExecutedAgain) {
  std::string program = copyFrontend();
  start(options);
  TestClient client = connect();
  for (int i = 0; i < 3; ++i)
    client.spawn(client.create(), "sleep 1000", i == 0);
  auto handles = client.list();
  ASSERT_EQ(chmod(program.c_str(), 0600), 0);
  pid_t before = server().frontendPid();
  kill(before, SIGKILL);
  ASSERT_TRUE(waitUntil([&]() { return countInLogs(server(), "Permission denied") > 1; }));
  expectBearableRetries(server());
  ASSERT_EQ(chmod(program.c_str(), 0755), 0);
  server().waitUntilServing();
  TestClient again = connect();
  EXPECT_EQ(sorted(again.list()), sorted(handles));
  for (const auto& handle : handles)
    EXPECT_EQ(again.output(handle, "echo fine"), "fine\n");
  // TearDown: nothing is left of the starts that failed.
}

TEST_F(FrontendStartTest, endsWhileNoFrontendCanBeStarted) {
  std::string program = copyFrontend();
  start(options);
  connect().spawn(connect().create("there"), "sleep 1000");
  ASSERT_EQ(chmod(program.c_str(), 0600), 0);
  kill(server().frontendPid(), SIGKILL);
  ASSERT_TRUE(waitUntil([&]() { return countInLogs(server(), "Permission denied") > 1; }));
  EXPECT_EQ(server().stop(), 0) << server().logs();
  // The program's name is looked up at the next start.
  ASSERT_EQ(chmod(program.c_str(), 0755), 0);
  server().start();
  EXPECT_EQ(connect().list(), std::vector<std::string>{"there"});
  destroyAll(server());
  takeNewBaseline();
}

TEST_F(FrontendStartTest, warnsOfAKeyWithoutEffect) {
  constexpr char WARNING[] = "warning: server.allow_nested_warden has no effect";
  options.config["server.allow_nested_warden"] = "true";
  start(options);
  EXPECT_EQ(countInLogs(server(), WARNING), 1u);
  EXPECT_EQ(server().stop(), 0);
  startWith({{"server.allow_nested_warden", "false"}});
  EXPECT_EQ(countInLogs(server(), WARNING), 0u);
}

TEST_F(FrontendStartTest, needsNoNameOfItsProgramOnceItRuns) {
  std::string program = copyFrontend();
  start(options);
  pid_t before = server().frontendPid();
  // What stands at the path later is never executed.
  ASSERT_EQ(unlink(program.c_str()), 0);
  writeFile(program, "#!/bin/sh\ntouch /tmp/warden-frontend-start-test\n", 0755);
  kill(before, SIGKILL);
  ASSERT_TRUE(waitUntil([&]() { return countInLogs(server(), "frontend started, pid") > 1; }));
  server().waitUntilServing();
  EXPECT_NE(access("/tmp/warden-frontend-start-test", F_OK), 0);
  // The fixture finds a frontend by its program, which is at this path no more.
  EXPECT_EQ(server().stop(), 0);
  expectNothingRemains(server());
}

class ProcessLimit {
  // A pids cgroup of the test that a process of the server is put into.
 public:
  ProcessLimit(const TestServer& server, pid_t pid)
      : path("/sys/fs/cgroup/pids/" + server.cgroupParent() + "-limit") {
    fs::create_directory(path);
    writeFile(path + "/cgroup.procs", std::to_string(pid));
  }
  ~ProcessLimit() {
    waitUntil([&]() { return rmdir(path.c_str()) == 0; });
  }

  void set(const std::string& limit) { writeFile(path + "/pids.max", limit); }

 private:
  std::string path;
};

TEST_F(FrontendStartTest, triesAgainWhenNoProcessCanBeMade) {
  if (!fs::exists("/sys/fs/cgroup/pids/cgroup.procs")) GTEST_SKIP() << "no version 1 pids cgroup";
  start(options);
  std::optional<ProcessLimit> limit;
  limit.emplace(server(), server().launcherPid());
  {
    TestClient client = connect();
    client.create("there");
    limit->set("1");
    std::string message = client.expectError(createRequest("one more"));
    EXPECT_NE(message.find("clone: Resource temporarily unavailable"), std::string::npos)
        << message;
    EXPECT_EQ(client.list(), std::vector<std::string>{"there"});
  }
  kill(server().frontendPid(), SIGKILL);
  std::string note = "the frontend could not be started: clone: Resource temporarily unavailable";
  ASSERT_TRUE(waitUntil([&]() { return countInLogs(server(), note) > 1; })) << server().logs();
  size_t before = countInLogs(server(), note);
  std::this_thread::sleep_for(seconds(2));
  EXPECT_LE(countInLogs(server(), note) - before, 5u);
  limit->set("max");
  server().waitUntilServing();
  EXPECT_EQ(connect().list(), std::vector<std::string>{"there"});
  warmUp(server());
  destroyAll(server());
  EXPECT_EQ(server().stop(), 0) << server().logs();
  limit.reset();
  expectNothingRemains(server());
}

}  // namespace
}  // namespace warden::test
