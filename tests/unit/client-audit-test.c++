// `warden audit` as its callers see it: on files that base/audit-trail.h writes.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base-testing.h"
#include "base/audit-trail.h"
#include "client/command-line.h"
#include "client/commands-audit.h"

namespace warden::client {
namespace {

using Json = nlohmann::ordered_json;

struct Result {
  int status;
  std::string out;
};

class AuditCommandTest : public ::testing::Test {
 protected:
  test::TemporaryDirectory directory;
  std::string path = directory.path + "/trail";

  void SetUp() override {
    AuditTrail trail = open();
    for (int i = 0; i < 20; ++i) {
      trail.append({{"from", "frontend"},
                    {"peer", {{"pid", 100 + i}, {"uid", i % 2}, {"gid", 0}}},
                    {"request", i % 4 == 0 ? "create" : "run"},
                    {"handle", auditText(i == 7 ? "h\x1b\xff" : "h" + std::to_string(i % 3))},
                    {"outcome", i == 5 ? "failed" : "done"},
                    {"cause", i == 5 ? "no\x1b[2Jsuch" : ""}});
    }
  }

  AuditTrail open() {
    int raw = ::open(directory.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return AuditTrail(Fd(raw), "trail", 2500, 5);
  }

  Result run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"warden", "audit"});
    arguments.push_back(path);
    std::vector<const char*> argv;
    for (auto& argument : arguments)
      argv.push_back(argument.c_str());
    std::string output = directory.path + "/output";
    int status = test::inChild([&]() {
      int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(fd, STDOUT_FILENO);
      dup2(fd, STDERR_FILENO);
      return commandLine(static_cast<int>(argv.size()), argv.data());
    });
    std::ifstream in(output);
    return {status, std::string(std::istreambuf_iterator<char>(in), {})};
  }

  size_t linesOf(const std::vector<std::string>& arguments) {
    Result result = run(arguments);
    EXPECT_EQ(result.status, 0) << result.out;
    return std::count(result.out.begin(), result.out.end(), '\n');
  }
};

TEST_F(AuditCommandTest, verifySaysThatATrailIsWhole) {
  Result result = run({"verify"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, path + ": whole, 20 records, 1 to 20\n");
  Json report = Json::parse(run({"verify", "--json"}).out);
  EXPECT_EQ(report["whole"], true);
  EXPECT_EQ(report["last_seq"], 20);
}

TEST_F(AuditCommandTest, verifySaysWhereATrailIsBroken) {
  std::string older = path + ".1";
  std::ifstream in(older);
  std::stringstream content;
  content << in.rdbuf();
  std::string text = content.str();
  text[text.find("frontend")] = 'F';
  std::ofstream(older) << text;
  Result result = run({"verify"});
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.out.find(older + ":1: the line was changed"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("NOT WHOLE"), std::string::npos);
}

TEST_F(AuditCommandTest, whatCannotBeReadIsAnErrorOfItsOwn) {
  path += ".nonexistent";
  EXPECT_EQ(run({"verify"}).status, 3);
  EXPECT_EQ(run({"show"}).status, 3);
}

TEST_F(AuditCommandTest, showFilters) {
  EXPECT_EQ(linesOf({"show"}), 20u);
  EXPECT_EQ(linesOf({"show", "--user", "root"}), 10u);
  EXPECT_EQ(linesOf({"show", "--user", "1", "--request", "create"}), 0u);
  EXPECT_EQ(linesOf({"show", "--request", "create"}), 5u);
  EXPECT_EQ(linesOf({"show", "--handle", "h0"}), 7u);
  EXPECT_EQ(linesOf({"show", "--handle", "h\x1b\xff"}), 1u);
  EXPECT_EQ(linesOf({"show", "--outcome", "failed"}), 1u);
  EXPECT_EQ(linesOf({"show", "--since", "2020"}), 20u);
  EXPECT_EQ(linesOf({"show", "--until", "2020-01-01T10:00"}), 0u);
  EXPECT_EQ(linesOf({"show", "--since", "9999-01-01"}), 0u);
  EXPECT_EQ(run({"show", "--since", "yesterday"}).status, 2);
  EXPECT_EQ(run({"show", "--outcome", "perhaps"}).status, 2);
  EXPECT_EQ(run({"show", "--user", "no-such-user"}).status, 2);
}

TEST_F(AuditCommandTest, showIsSafeForTheTerminalAndExactAsJson) {
  EXPECT_EQ(run({"show"}).out.find('\x1b'), std::string::npos);
  Json record = Json::parse(run({"show", "--json", "--outcome", "failed"}).out);
  EXPECT_EQ(record["seq"], 6);
  EXPECT_EQ(record["cause"], "no\x1b[2Jsuch");
}

TEST_F(AuditCommandTest, followPrintsWhatComesAlsoOverARotation) {
  std::string output = directory.path + "/followed";
  pid_t follower = fork();
  if (follower == 0) {
    int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    const char* argv[] = {"warden", "audit", "follow", "--json", path.c_str()};
    _exit(commandLine(5, argv));
  }
  usleep(300'000);
  AuditTrail trail = open();
  for (int i = 0; i < 30; ++i) {
    trail.append({{"request", "late"}});
    if (i % 5 == 4) usleep(300'000);
  }
  usleep(500'000);
  kill(follower, SIGKILL);
  waitpid(follower, nullptr, 0);
  std::ifstream in(output);
  uint64_t expected = 21;
  for (std::string line; std::getline(in, line); ++expected)
    EXPECT_EQ(Json::parse(line)["seq"], expected);
  EXPECT_EQ(expected, 51u);
}

}  // namespace
}  // namespace warden::client
