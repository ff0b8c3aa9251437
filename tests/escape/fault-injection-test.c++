// A failure after every single step of create leaves nothing behind. The steps are not listed here:
// a helper that is built with fault points names those that one create passes, and each becomes a
// test.

#include <ctype.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

constexpr char FAULTY_HELPER[] = WARDEN_BIN_DIR "/warden-privhelper-faults";

struct Step {
  std::string number;
  std::string name;
};

std::vector<Step> listSteps() {
  ServerOptions options;
  options.helper = FAULTY_HELPER;
  std::string list = testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + ".steps";
  options.environment["WARDEN_FAULT_COUNT_FILE"] = list;
  TestServer server(options);
  server.start();
  warmUp(server);
  server.stop();
  std::vector<Step> steps;
  for (const auto& line : splitLines(readFile(list))) {
    size_t space = line.find(' ');
    steps.push_back({line.substr(0, space), line.substr(space + 1)});
  }
  unlink(list.c_str());
  return steps;
}

std::string testName(const Step& step) {
  std::string name = "undoesAllWhenStep" + step.number + "_";
  for (char c : step.name)
    name += isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name + "Fails";
}

class FaultInjectionTest : public ::testing::Test {
 public:
  explicit FaultInjectionTest(Step step) : step(std::move(step)) {}

  void TestBody() override {
    ServerOptions options;
    options.helper = FAULTY_HELPER;
    options.environment["WARDEN_FAULT_STEP"] = step.number;
    options.slots = 1;  // the second create needs the slot of the failed one
    TestServer server(options);
    server.start();
    LeakCheck leaks(server);
    {
      TestClient client = server.connect();
      std::string message = client.expectError(createRequest("faulty"));
      // In the helper it may be a neighbour of the step: how often a busy device is asked again
      // differs. Each step of the child has a number of its own.
      bool injected = message.find("injected fault") != std::string::npos;
      EXPECT_TRUE(injected || message.find(step.name) != std::string::npos) << message;
      EXPECT_TRUE(client.list().empty());
    }
    leaks.expectNothingLeaked();
    // The handle, the slot and everything else are free again.
    TestClient client = server.connect();
    client.create("faulty");
    EXPECT_EQ(client.output("faulty", "echo works"), "works\n");
    client.destroy("faulty");
    expectCleanStop(server);
    if (HasFailure()) fprintf(stderr, "%s", server.logs().c_str());
  }

 private:
  Step step;
};

void registerTests() {
  for (const Step& step : listSteps()) {
    ::testing::RegisterTest("FaultInjectionTest", testName(step).c_str(), nullptr, nullptr,
                            __FILE__, __LINE__,
                            [step]() -> ::testing::Test* { return new FaultInjectionTest(step); });
  }
}

TEST(FaultInjectionListTest, hasStepsOfHelperAndChild) {
  EXPECT_GT(::testing::UnitTest::GetInstance()->total_test_count(), 20);
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
