// Every system call of every ABI, from inside of a container, against the table in
// system-calls.table.

#include <gtest/gtest.h>
#include <kj/debug.h>

#include <map>
#include <sstream>

#include "tests/escape/escape-environment.h"

namespace warden::test {
namespace {

constexpr char TABLE[] = WARDEN_SOURCE_DIR "/tests/escape/system-calls.table";
constexpr int LAST_NUMBER = 600;

struct Entry {
  std::string name;
  std::string toRoot;
  std::string toVcap;
};

using Table = std::map<int, Entry>;

Table readTable(const std::string& wantedAbi) {
  Table table;
  for (const auto& line : splitLines(readFile(TABLE))) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string abi, numbers;
    Entry entry;
    words >> abi >> numbers >> entry.name >> entry.toRoot;
    if (!(words >> entry.toVcap)) entry.toVcap = entry.toRoot;
    if (abi != wantedAbi) continue;
    int first = std::stoi(numbers);
    size_t dash = numbers.find('-');
    int last = dash == std::string::npos ? first : std::stoi(numbers.substr(dash + 1));
    for (int number = first; number <= last; ++number)
      KJ_REQUIRE(table.emplace(number, entry).second, "a number twice", number);
  }
  return table;
}

// On this machine, without a filter. For calls that the table allows only: others could do harm.
bool kernelHas(int number) {
  auto n = std::to_string(number);
  return runProgram({SYSTEM_CALL_PROBE, "x86-64", n, n}).out != n + " ENOSYS\n";
}

bool isAsExpected(int number, const std::string& expected, const std::string& answer) {
  if (answer == expected) return true;
  // Said of i386 by a kernel that has no such calls.
  if (answer == "unsupported") return true;
  if (expected == "kernel") return answer == "allowed" || answer == "ENOSYS";
  return expected == "allowed" && answer == "ENOSYS" && !kernelHas(number);
}

using Parameter = std::tuple<const char*, bool>;  // ABI, privileged

class SystemCallTest : public ::testing::TestWithParam<Parameter> {};

std::string testName(const ::testing::TestParamInfo<Parameter>& info) {
  std::string abi = std::get<0>(info.param);
  if (abi == "x86-64") abi = "native";
  return abi + (std::get<1>(info.param) ? "AsRoot" : "AsVcap");
}

INSTANTIATE_TEST_SUITE_P(, SystemCallTest,
                         ::testing::Combine(::testing::Values("x86-64", "x32", "i386"),
                                            ::testing::Bool()),
                         testName);

TEST_P(SystemCallTest, isAnsweredAsTheTableSays) {
  auto [abi, privileged] = GetParam();
  Table table = readTable(abi);
  std::string script = std::string("/system-calls ") + abi + " 0 " + std::to_string(LAST_NUMBER);
  auto& client = *environment().client;
  std::istringstream answers(client.output(environment().handle, script, privileged));
  int expectedNumber = 0;
  int number;
  std::string answer;
  while (answers >> number >> answer) {
    ASSERT_EQ(number, expectedNumber++);
    ASSERT_EQ(table.count(number), 1u) << number;
    const Entry& entry = table.at(number);
    EXPECT_TRUE(isAsExpected(number, privileged ? entry.toRoot : entry.toVcap, answer))
        << abi << " " << number << " (" << entry.name << "): " << answer << ", expected "
        << (privileged ? entry.toRoot : entry.toVcap);
  }
  EXPECT_EQ(expectedNumber, LAST_NUMBER + 1);
  environment().expectCanariesUntouched();
}

// What a job has of ids, capabilities and confinement, line by line of /proc/self/status (proc(5)).
class JobStatusTest : public ::testing::TestWithParam<bool> {
 protected:
  std::map<std::string, std::string> statusOf(const std::string& command) {
    std::map<std::string, std::string> status;
    for (const auto& line :
         splitLines(environment().client->output(environment().handle, command, GetParam()))) {
      size_t colon = line.find(':');
      if (colon == std::string::npos) continue;
      std::istringstream words(line.substr(colon + 1));
      std::string value, word;
      while (words >> word)
        value += (value.empty() ? "" : " ") + word;
      status[line.substr(0, colon)] = value;
    }
    return status;
  }

  void expectConfined(const std::string& command) {
    constexpr char NOTHING[] = "0000000000000000";
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
    // SYS_CHROOT (linux/capability.h).
    const char* all = GetParam() ? "00000000000405fb" : NOTHING;
    auto status = statusOf(command);
    EXPECT_EQ(status["CapInh"], NOTHING);
    EXPECT_EQ(status["CapPrm"], all);
    EXPECT_EQ(status["CapEff"], all);
    EXPECT_EQ(status["CapBnd"], all);
    EXPECT_EQ(status["CapAmb"], NOTHING);
    EXPECT_EQ(status["NoNewPrivs"], "1");
    EXPECT_EQ(status["Seccomp"], "2");
    // The launcher's two and the container's.
    EXPECT_EQ(status["Seccomp_filters"], "3");
    EXPECT_EQ(status["TracerPid"], "0");
    std::string id = GetParam() ? "0" : std::to_string(vcap());
    std::string ids = id + " " + id + " " + id + " " + id;
    EXPECT_EQ(status["Uid"], ids);
    EXPECT_EQ(status["Gid"], ids);
    EXPECT_EQ(status["SigBlk"], NOTHING);
    EXPECT_EQ(status["SigIgn"], NOTHING);
  }

  static uint32_t vcap() {
    return std::stoul(environment().client->output(environment().handle, "id -u"));
  }
};

INSTANTIATE_TEST_SUITE_P(, JobStatusTest, ::testing::Bool(),
                         [](auto& info) { return std::string(info.param ? "ofRoot" : "ofVcap"); });

TEST_P(JobStatusTest, isTheDocumentedOneLineByLine) {
  expectConfined("cat /proc/self/status");
}

TEST_P(JobStatusTest, isTheSameAfterASetUserIdProgram) {
  // no_new_privs: the bit does nothing.
  std::string suid = std::string(SUID_PROBE) + " print-status";
  expectConfined(suid);
}

TEST_P(JobStatusTest, hasGroupsOfItsUserOnly) {
  auto status = statusOf("cat /proc/self/status");
  EXPECT_EQ(status["Groups"], GetParam() ? "0" : std::to_string(vcap()));
}

}  // namespace
}  // namespace warden::test
