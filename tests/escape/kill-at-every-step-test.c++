// The helper, or the frontend, is killed at every single step of create, destroy and a change: what
// comes after finds the container whole, or nothing of it. The steps are not listed here: a helper
// that is built with fault points names those that one operation passes, and each becomes a test.

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/integration/recovery-helper-test.h"

namespace warden::test {
namespace {

constexpr char FAULTY_HELPER[] = WARDEN_BIN_DIR "/warden-privhelper-faults";
constexpr char ID[] = "00000000001";
constexpr uint32_t FIRST_CHILD_STEP = 1001;
constexpr uint16_t PORT = 5000;
constexpr kj::StringPtr HOST_DIRECTORY = "/usr/share"_kj;

struct Operation {
  const char* name;  // as in fault-point.h
  HelperConnection::Fill fill;
  bool needsContainer;
};

const Operation CREATE{"create",
                       [](auto request) {
                         auto create = request.initCreate();
                         fillCreate(create, ID, 0);
                         auto mounts = create.initBindMounts(2);
                         for (auto mount : mounts)
                           mount.setSource(HOST_DIRECTORY.asBytes());
                         mounts[0].setTarget("/data"_kj.asBytes());
                         mounts[1].setTarget("/home/data"_kj.asBytes());
                         mounts[1].setWritable(true);
                       },
                       false};
const Operation DESTROY{"destroy", [](auto request) { request.initDestroy().setId(ID); }, true};
const Operation MAP_PORT{"map port",
                         [](auto request) {
                           auto map = request.initMapPort();
                           map.setId(ID);
                           map.setHostPort(PORT);
                           map.setContainerPort(80);
                         },
                         true};
const Operation LIMIT_BANDWIDTH{"limit bandwidth",
                                [](auto request) {
                                  auto limit = request.initLimitBandwidth();
                                  limit.setId(ID);
                                  limit.setRate(1000000);
                                  limit.setBurst(100000);
                                },
                                true};

enum class Victim { HELPER, FRONTEND };

struct Step {
  uint32_t number;
  std::string name;

  bool isChilds() const { return number >= FIRST_CHILD_STEP; }
};

class KillTest : public RecoveryHelperTest {
 public:
  KillTest(const Operation& operation, Step step, Victim victim)
      : operation(operation), step(std::move(step)), victim(victim) {}

  // All take the same server: what one leaves behind the next would find.
  static std::unique_ptr<TestServer> parked;
  static std::unique_ptr<LeakCheck> parkedLeaks;

 protected:
  void configure(ServerOptions& options) override { options.helper = FAULTY_HELPER; }

  void SetUp() override {
    if (parked == nullptr) return RecoveryHelperTest::SetUp();
    server = std::move(parked);
    leaks = std::move(parkedLeaks);
  }

  void TestBody() override {
    if (server->brokerPid() > 0) end(End::KILL_ALL);
    arm();
    start();
    if (operation.needsContainer) create(ID, 0);
    victim == Victim::HELPER ? killHelper() : killFrontend();
    disarm();
    expectWholeOrGone();
  }

  void TearDown() override {
    if (HasFailure()) {
      fprintf(stderr, "%s", server->logs().c_str());
      if (helper) RecoveryHelperTest::TearDown();
      return;
    }
    leaks->expectNothingLeaked();
    helper.reset();
    parked = std::move(server);
    parkedLeaks = std::move(leaks);
  }

 private:
  const Operation& operation;
  Step step;
  Victim victim;

  void arm() {
    // A stopped helper is killed as well as one that kills itself; and its child is late only.
    bool kills = victim == Victim::HELPER && !step.isChilds();
    server->setEnvironment("WARDEN_FAULT_OPERATION", operation.name);
    server->setEnvironment("WARDEN_FAULT_KIND", kills ? "kill" : "stop");
    server->setEnvironment("WARDEN_FAULT_STEP", std::to_string(step.number));
  }

  void disarm() {
    for (const char* name : {"OPERATION", "KIND", "STEP"})
      server->setEnvironment(std::string("WARDEN_FAULT_") + name, "");
  }

  void send() {
    auto bytes = encode([&](schema::HelperRequest::Builder request) {
      request.setSequence(1000);
      request.setHasClient(true);
      operation.fill(request);
    });
    int client = helper->client();
    ASSERT_TRUE(helper->sendBytes(bytes, kj::arrayPtr(&client, 1)));
  }

  // Until the child hangs at its step, or the helper has stopped.
  void awaitStep() {
    if (step.isChilds()) {
      std::this_thread::sleep_for(patient(std::chrono::milliseconds(250)));
      return;
    }
    EXPECT_TRUE(waitUntil([&]() { return statusField(server->brokerPid(), "State")[0] == 'T'; }))
        << "the step was not reached";
  }

  void killHelper() {
    send();
    if (step.isChilds()) {
      awaitStep();
      kill(server->brokerPid(), SIGKILL);
    }
    EXPECT_EQ(server->waitForExit(std::chrono::seconds(10)), 128 + SIGKILL)
        << "the step was not reached";
    helper.reset();
    disarm();
    start();
  }

  void killFrontend() {
    send();
    awaitStep();
    pid_t frontend = server->frontendPid();
    kill(frontend, SIGKILL);
    helper.reset();
    if (!step.isChilds()) kill(server->brokerPid(), SIGCONT);
    ASSERT_TRUE(waitUntil([&]() {
      auto now = server->findFrontend();
      return now && *now != frontend;
    }));
    helper.emplace(HelperConnection::take(*server));
    helper->hello();
  }

  void expectWholeOrGone() {
    EXPECT_TRUE(waitUntil([&]() { return dying().empty(); })) << "it is not removed";
    auto left = whole();
    if (operation.name == MAP_PORT.name || operation.name == LIMIT_BANDWIDTH.name) {
      ASSERT_EQ(left, std::vector<std::string>{ID});
      expectWholeChange();
    }
    if (!left.empty()) {
      EXPECT_EQ(left, std::vector<std::string>{ID});
      expectAlive(ID, server->wshdPid(ID));
      EXPECT_EQ(helper->destroy(ID)->which, schema::HelperReply::DONE);
    }
    // Its slot, its network and its id are free.
    create(ID, 0);
    EXPECT_EQ(helper->destroy(ID)->which, schema::HelperReply::DONE);
  }

  // The change was made, or was not, and both the helper and the kernel say the same.
  void expectWholeChange() {
    auto adopted = helper->adopt(ID)->adopted.value();
    auto objects = networkObjects(server->network());
    auto count = [&](const std::string& text) {
      return std::count_if(objects.begin(), objects.end(), [&](const std::string& item) {
        return item.find(text) != std::string::npos;
      });
    };
    if (operation.name == MAP_PORT.name) {
      EXPECT_EQ(adopted.ports.size(), size_t(count(std::to_string(PORT)))) << server->logs();
      auto again = helper->call(operation.fill);
      EXPECT_EQ(again->which,
                adopted.ports.empty() ? schema::HelperReply::DONE : schema::HelperReply::FAILED);
    } else {
      // In both directions, each as a qdisc and its class; as a filter and its action.
      constexpr int BUCKETS = 4, REDIRECTIONS = 2;
      EXPECT_EQ(count("tbf"), adopted.rate == 0 ? 0 : BUCKETS);
      EXPECT_EQ(count("mirred"), adopted.rate == 0 ? 0 : REDIRECTIONS);
      EXPECT_EQ(helper->call(operation.fill)->which, schema::HelperReply::DONE);
      objects = networkObjects(server->network());
      EXPECT_EQ(count("tbf"), BUCKETS);
      EXPECT_EQ(count("mirred"), REDIRECTIONS);
    }
  }
};

std::unique_ptr<TestServer> KillTest::parked;
std::unique_ptr<LeakCheck> KillTest::parkedLeaks;

class StepLister : public RecoveryHelperTest {
  // Asks a server which steps an operation has.

 public:
  std::vector<Step> steps(const Operation& operation) {
    ServerOptions options;
    options.helper = FAULTY_HELPER;
    options.config["privhelper.frontend_path"] = WARDEN_BIN_DIR "/warden-hostile-frontend";
    std::string list =
        testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + ".steps";
    options.environment["WARDEN_FAULT_COUNT_FILE"] = list;
    options.environment["WARDEN_FAULT_OPERATION"] = operation.name;
    options.environment["WARDEN_FAULT_KIND"] = "none";
    server = std::make_unique<TestServer>(options);
    start();
    if (operation.needsContainer) helper->create(ID, 0);
    EXPECT_NE(helper->call(operation.fill)->which, schema::HelperReply::FAILED);
    helper->destroy(ID);
    end(End::TERM);
    std::vector<Step> found;
    for (const auto& line : splitLines(readFile(list))) {
      size_t space = line.find(' ');
      found.push_back({uint32_t(std::stoul(line.substr(0, space))), line.substr(space + 1)});
    }
    unlink(list.c_str());
    return found;
  }

 private:
  void TestBody() override {}
};

std::string testName(const Operation& operation, const Step& step) {
  std::string name =
      std::string(operation.name) + "_step_" + std::to_string(step.number) + "_" + step.name;
  for (char& c : name) {
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

void registerTests(const Operation& operation, std::initializer_list<Victim> victims) {
  auto steps = StepLister().steps(operation);
  for (Victim victim : victims) {
    const char* suite = victim == Victim::HELPER ? "HelperKilledTest" : "FrontendKilledTest";
    for (const Step& step : steps) {
      ::testing::RegisterTest(suite, testName(operation, step).c_str(), nullptr, nullptr, __FILE__,
                              __LINE__, [&operation, step, victim]() -> KillTest* {
                                return new KillTest(operation, step, victim);
                              });
    }
  }
}

class LastStop : public ::testing::Environment {
  void TearDown() override {
    KillTest::parkedLeaks.reset();
    if (KillTest::parked == nullptr) return;
    expectCleanStop(*KillTest::parked);
    KillTest::parked.reset();
  }
};

}  // namespace
}  // namespace warden::test

int main(int argc, char** argv) {
  using namespace warden::test;
  testing::InitGoogleTest(&argc, argv);
  if (geteuid() != 0) {
    fputs("these tests start a container server and must run as root\n", stderr);
    return 1;
  }
  registerTests(CREATE, {Victim::HELPER, Victim::FRONTEND});
  registerTests(DESTROY, {Victim::HELPER, Victim::FRONTEND});
  registerTests(MAP_PORT, {Victim::HELPER});
  registerTests(LIMIT_BANDWIDTH, {Victim::HELPER});
  ::testing::AddGlobalTestEnvironment(new LastStop);
  return RUN_ALL_TESTS();
}
