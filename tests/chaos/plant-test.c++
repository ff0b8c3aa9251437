// The checker finds what it is there to find: each fault that is planted behind the server's back.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include "tests/chaos/plant.h"
#include "tests/support/process.h"

namespace warden::chaos {
namespace {

const std::map<std::string, std::string> FOUND_BY = {
    {"port", "port 61000 is not mapped"},
    {"rule", "198.18.1.0 is not allowed"},
    {"memory", "memory is 50331648, not 68157440"},
    {"cpu", "cpu in the kernel is "},
    {"bandwidth", "its bandwidth is not limited to 1001000"},
    {"job", "job 2 is lost"},
    {"wshd", "c0-0 cannot be used"},
    {"output", "c0-0: job "},
    {"copy", "what was copied to /tmp/copy-1: program is wrong"},
    {"directory", "directories of: none"},
    {"cgroup", "cgroups in "},
    {"interface", "interfaces of: none"},
    {"destroy", "c0-0 is not listed"},
    {"create", "listed: c0-0 unknown; expected: c0-0"},
    {"stray-directory", "directories of: 0123456789a "},
    {"stray-cgroup", "of: 0123456789a "},
    {"stray-interface", "interfaces of: 0123456789a "},
    {"stray-table", "{\"family\":\"inet\",\"name\":\"stray\"}: 0 before, 1 after"},
    {"stray-file", "file stray: 0 before, 1 after"},
};

const std::set<std::string> NO_FAULTS = {"nothing", "wshd-as-known"};

class PlantTest : public ::testing::TestWithParam<std::string> {};

TEST_P(PlantTest, isFound) {
  std::string log = test::testDirectory() + "/" + test::DIRECTORY_PREFIX +
                    std::to_string(getpid()) + "-plant.log";
  auto result = test::runProgram(
      {WARDEN_BIN_DIR "/chaos", "--plant", GetParam(), "--seed", "1", "--log", log});
  std::filesystem::remove(log);
  std::filesystem::remove(log + ".server");
  if (NO_FAULTS.count(GetParam()) > 0) {
    EXPECT_EQ(result.exitStatus, 0) << result.err;
    return;
  }
  EXPECT_EQ(result.exitStatus, 1);
  EXPECT_NE(result.err.find("violation: check: "), std::string::npos) << result.err;
  auto known = FOUND_BY.find(GetParam());
  ASSERT_NE(known, FOUND_BY.end()) << "say above what it is found by: " << result.err;
  EXPECT_NE(result.err.find(known->second), std::string::npos) << result.err;
}

std::string testName(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& c : name)
    if (!isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Faults, PlantTest, ::testing::ValuesIn(plantNames()), testName);

}  // namespace
}  // namespace warden::chaos
