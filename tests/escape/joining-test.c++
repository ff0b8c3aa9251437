// Attacks on what comes into a container: jobs between fork and exec, and their descriptors.

#include <gtest/gtest.h>
#include <stdio.h>

#include "tests/escape/escape-environment.h"

namespace warden::test {
namespace {

constexpr char STOP[] = "/tmp/siege-over";
constexpr int SPAWNS = 1000;

class JoiningTest : public ::testing::TestWithParam<bool> {
 protected:
  void TearDown() override { environment().expectCanariesUntouched(); }

  static TestClient& client() { return *environment().client; }
  static const std::string& handle() { return environment().handle; }
  static std::string rootsOutput(const std::string& script) {
    return client().output(handle(), script, true);
  }
};

INSTANTIATE_TEST_SUITE_P(, JoiningTest, ::testing::Bool(),
                         [](auto& info) { return std::string(info.param ? "asRoot" : "asVcap"); });

TEST_P(JoiningTest, findsNothingToTraceOrOverwriteDuringAThousandSpawns) {
  std::string programs[] = {WARDEN_BIN_DIR "/warden-wshd", WARDEN_BIN_DIR "/warden-privhelper"};
  std::vector<std::string> before;
  for (const auto& program : programs)
    before.push_back(readFile(program));
  rootsOutput(std::string("rm -f ") + STOP);
  uint32_t siege = client().spawn(handle(), std::string("/probe siege ") + STOP, GetParam());
  for (int i = 0; i < SPAWNS; ++i) {
    auto response = client().run(handle(), "echo whole", i % 2 == 1);
    ASSERT_EQ(response.exit_status(), 0u) << i << ": " << response.stderr();
    ASSERT_EQ(response.stdout(), "whole\n") << i;
  }
  rootsOutput(std::string("touch ") + STOP);
  auto result = client().link(handle(), siege);
  EXPECT_EQ(result.exit_status(), 0u) << result.stdout() << result.stderr();
  // It did see jobs on their way, or it has shown nothing.
  unsigned long hidden = 0;
  EXPECT_EQ(sscanf(result.stdout().c_str(), "hidden %lu", &hidden), 1) << result.stdout();
  EXPECT_GT(hidden, 0u);
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_TRUE(readFile(programs[i]) == before[i]) << programs[i];
  rootsOutput(std::string("rm -f ") + STOP);
}

// A root job makes the home a link for as long as a job tries to start in it.
std::string linkHome(const std::string& home, const std::string& target) {
  return "mv " + home + " /tmp/home-before && ln -s " + target + " " + home +
         "; touch /tmp/linked; until [ -e /tmp/tried ]; do sleep 0.01; done; rm -f " + home +
         " /tmp/tried /tmp/linked; mv /tmp/home-before " + home;
}

TEST_P(JoiningTest, findsNoDirectoryOfTheHostBehindAHomeOfDescriptors) {
  bool other = !GetParam();  // whose home is left alone
  std::string home = client().output(handle(), "cd; pwd", GetParam());
  home.pop_back();
  ASSERT_EQ(home[0], '/');
  const std::string& secret = environment().targets->secretFile;
  for (const char* process : {"self", "1"}) {
    for (int fd = 0; fd < 16; ++fd) {
      std::string target = std::string("/proc/") + process + "/fd/" + std::to_string(fd);
      uint32_t link = client().spawn(handle(), linkHome(home, target), true);
      client().run(handle(), "until [ -e /tmp/linked ]; do sleep 0.01; done", other);
      try {
        auto found = client().run(
            handle(), "for up in . .. ../.. ../../.. ../../../..; do cat $up" + secret + "; done",
            GetParam());
        ADD_FAILURE() << "started in " << target << ": " << found.stdout();
      } catch (const ServerError& e) {
        EXPECT_NE(std::string(e.what()).find("home"), std::string::npos) << e.what();
      }
      client().run(handle(), "touch /tmp/tried", other);
      EXPECT_EQ(client().link(handle(), link).exit_status(), 0u);
    }
  }
}

}  // namespace
}  // namespace warden::test
