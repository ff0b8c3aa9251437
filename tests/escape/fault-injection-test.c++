// A failure after every single step of create leaves nothing behind. The steps are not listed here:
// a helper that is built with fault points names those that one create passes, and each becomes a
// test.

#include <ctype.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "tests/support/host-files.h"
#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

constexpr char FAULTY_HELPER[] = WARDEN_BIN_DIR "/warden-privhelper-faults";

// What is created: the first container of the server has no files of the host, or an image and
// bind mounts of a user of the host, which takes other steps.
enum class Kind { PLAIN, WITH_HOST_FILES };

constexpr uid_t USER = 60001;

constexpr char FIRST_OF_CHILD[] = "1001";

struct Step {
  Kind kind;
  std::string number;
  std::string name;
  bool helperIsSlow = false;
};

class HostFiles {
 public:
  HostFiles()
      : path(testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-files") {
    makeOwned(path, 0);
    copyTree(busyboxImage(), path + "/image");
    makeOwned(path + "/data", USER);
  }
  ~HostFiles() { std::filesystem::remove_all(path); }

  CreateRequest request(Kind kind) const {
    if (kind == Kind::PLAIN) return createRequest("faulty");
    auto request = rootfsRequest("faulty", path + "/image");
    for (int i = 0; i < 9; ++i)
      addBind(request, path + "/data", "/data/" + std::to_string(i), CreateRequest::BindMount::RW);
    return request;
  }

 private:
  std::string path;
};

TestClient connectFor(Kind kind, const TestServer& server) {
  return server.connectAs(kind == Kind::PLAIN ? 0 : USER);
}

std::vector<Step> listSteps(Kind kind) {
  ServerOptions options;
  options.helper = FAULTY_HELPER;
  std::string list = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + ".steps";
  options.environment["WARDEN_FAULT_COUNT_FILE"] = list;
  TestServer server(options);
  server.start();
  HostFiles files;
  TestClient client = connectFor(kind, server);
  client.call(files.request(kind));
  client.destroy("faulty");
  server.stop();
  std::vector<Step> steps;
  for (const auto& line : splitLines(readFile(list))) {
    size_t space = line.find(' ');
    steps.push_back({kind, line.substr(0, space), line.substr(space + 1)});
  }
  unlink(list.c_str());
  return steps;
}

std::string testName(const Step& step) {
  std::string name =
      "undoesAllWhenStep" + step.number + (step.kind == Kind::PLAIN ? "_" : "WithHostFiles_");
  for (char c : step.name)
    name += isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name + "Fails" + (step.helperIsSlow ? "BeforeTheHelperGoesOn" : "");
}

class FaultInjectionTest : public ::testing::Test {
 public:
  explicit FaultInjectionTest(Step step) : step(std::move(step)) {}

  void TestBody() override {
    ServerOptions options;
    options.helper = FAULTY_HELPER;
    options.environment["WARDEN_FAULT_STEP"] = step.number;
    if (step.helperIsSlow) options.environment["WARDEN_FAULT_KIND"] = "slow";
    options.slots = 1;  // the second create needs the slot of the failed one
    TestServer server(options);
    server.start();
    HostFiles files;
    LeakCheck leaks(server);
    {
      TestClient client = connectFor(step.kind, server);
      std::string message = client.expectError(files.request(step.kind));
      // In the helper it may be a neighbour of the step: how often a busy device is asked again
      // differs. Each step of the child has a number of its own.
      bool injected = message.find("injected fault") != std::string::npos;
      EXPECT_TRUE(injected || message.find(step.name) != std::string::npos) << message;
      EXPECT_TRUE(client.list().empty());
    }
    leaks.expectNothingLeaked();
    // The handle, the slot and everything else are free again.
    TestClient client = connectFor(step.kind, server);
    client.call(files.request(step.kind));
    EXPECT_EQ(client.output("faulty", "echo works"), "works\n");
    client.destroy("faulty");
    expectCleanStop(server);
    if (HasFailure()) fprintf(stderr, "%s", server.logs().c_str());
  }

 private:
  Step step;
};

// Those of a plain create, and what the other one has besides.
std::vector<Step> allSteps() {
  auto steps = listSteps(Kind::PLAIN);
  std::set<std::string> known;
  for (auto& step : steps)
    known.insert(step.name);
  for (auto& step : listSteps(Kind::WITH_HOST_FILES)) {
    if (known.count(step.name) == 0 || step.name == "mount bind mounts") steps.push_back(step);
  }
  // What the helper does next with a process that has ended fails as well, and is not the cause.
  auto first = std::find_if(steps.begin(), steps.end(),
                            [](const Step& step) { return step.number == FIRST_OF_CHILD; });
  if (first != steps.end()) {
    Step early = *first;
    early.helperIsSlow = true;
    steps.push_back(early);
  }
  return steps;
}

void registerTests() {
  for (const Step& step : allSteps()) {
    ::testing::RegisterTest("FaultInjectionTest", testName(step).c_str(), nullptr, nullptr,
                            __FILE__, __LINE__,
                            [step]() -> ::testing::Test* { return new FaultInjectionTest(step); });
  }
}

class HeldCgroups {
  // Cgroups in those of a container, which keep them from being removed.

 public:
  explicit HeldCgroups(const TestServer& server) {
    for (const auto& directory : server.cgroups()) {
      if (directory.find("/instance-") == std::string::npos) continue;
      std::filesystem::create_directory(directory + "/held");
      held.push_back(directory + "/held");
    }
  }
  ~HeldCgroups() {
    for (const auto& directory : held)
      rmdir(directory.c_str());
  }

  std::vector<std::string> held;
};

std::string numberOf(const char* name) {
  auto steps = listSteps(Kind::PLAIN);
  auto found =
      std::find_if(steps.begin(), steps.end(), [&](const Step& step) { return step.name == name; });
  return found == steps.end() ? "" : found->number;
}

std::vector<std::string> instances(const TestServer& server) {
  auto all = server.cgroups();
  std::erase_if(all, [](const std::string& directory) {
    return directory.find("/instance-") == std::string::npos;
  });
  return all;
}

TEST(FailedCreateTest, whatItCannotRemoveIsListedAndRemovedLater) {
  ServerOptions options;
  options.helper = FAULTY_HELPER;
  options.environment["WARDEN_FAULT_STEP"] = numberOf("send orders");
  options.environment["WARDEN_FAULT_KIND"] = "stop";
  TestServer server(options);
  server.start();
  LeakCheck leaks(server);
  {
    TestClient client = server.connect();
    client.send(createRequest("faulty"));
    ASSERT_TRUE(waitUntil([&] { return statusField(server.brokerPid(), "State")[0] == 'T'; }));
    HeldCgroups held(server);
    ASSERT_FALSE(held.held.empty());
    // By which the create fails.
    for (pid_t pid : descendants(server.launcherPid()))
      if (pid != server.frontendPid()) kill(pid, SIGKILL);
    kill(server.brokerPid(), SIGCONT);
    EXPECT_NE(client.receiveError().find("the process ended"), std::string::npos);
    EXPECT_EQ(instances(server).size(), 2 * held.held.size());
    EXPECT_EQ(client.listAll().containers_size(), 1);
  }
  EXPECT_TRUE(waitUntil([&] { return instances(server).empty(); })) << server.logs();
  EXPECT_EQ(server.connect().listAll().containers_size(), 0);
  EXPECT_TRUE(server.depotEntries().empty());
  leaks.expectNothingLeaked();
  expectCleanStop(server);
  if (HasFailure()) fprintf(stderr, "%s", server.logs().c_str());
}

TEST(FaultInjectionListTest, hasStepsOfHelperAndChild) {
  EXPECT_GT(::testing::UnitTest::GetInstance()->total_test_count(), 20);
  auto all = allSteps();
  for (const char* name : {"mount overlay", "map ids of bind mount", "send bind mounts",
                           "look for mounts in the image", "mount bind mounts"}) {
    EXPECT_TRUE(std::any_of(all.begin(), all.end(), [&](const Step& step) {
      return step.name == name;
    })) << name;
  }
}

}  // namespace
}  // namespace warden::test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (geteuid() != 0) {
    fputs("these tests start a container server and must run as root\n", stderr);
    return 1;
  }
  warden::test::registerTests();
  return RUN_ALL_TESTS();
}
