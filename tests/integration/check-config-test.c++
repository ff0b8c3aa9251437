// --check-config: what a server would refuse is told with its line, and nothing is changed.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

class CheckConfigTest : public ::testing::Test {
 protected:
  std::string directory =
      testDirectory() + "/" + DIRECTORY_PREFIX + std::to_string(getpid()) + "-check-XXXXXX";
  std::string path;

  CheckConfigTest() {
    KJ_REQUIRE(mkdtemp(directory.data()) != nullptr);
    std::filesystem::create_directories(directory + "/image");
    path = directory + "/w.yml";
  }
  ~CheckConfigTest() override { std::filesystem::remove_all(directory); }

  std::string at(const std::string& name) { return directory + "/" + name; }

  ProgramResult check(const std::string& text) {
    writeFile(path, text);
    std::string before = describeTree(directory);
    auto result =
        runProgram({WARDEN_BIN_DIR "/warden-privhelper", "--check-config", "--config", path});
    EXPECT_EQ(describeTree(directory), before);
    return result;
  }

  // One line of `server`, and what follows.
  ProgramResult checkWith(const std::string& server, const std::string& rest = "") {
    return check("server: {container_rootfs_path: " + at("image") +
                 ", unix_domain_path: " + at("warden.sock") + ",\n  " + server + "}\n" +
                 "privhelper: {user: nobody}\n" + rest);
  }
  std::string depot() { return "container_depot_path: " + at("depot"); }

  void expectNone(const ProgramResult& result) {
    EXPECT_EQ(result.exitStatus, 0) << result.err;
    EXPECT_EQ(result.out, path + ": no mistakes\n");
  }
  void expectMistake(const ProgramResult& result, const std::string& start) {
    EXPECT_EQ(result.exitStatus, 1);
    EXPECT_NE(result.err.find(path + ":" + start), std::string::npos) << result.err;
  }
};

TEST_F(CheckConfigTest, tellsAllMistakesWithTheirLines) {
  expectNone(checkWith(depot()));
  auto bad = checkWith(depot(), "network: {mtu: 1}\naccess: {rules: [{user: 1, quota: {}}]}\n");
  expectMistake(bad, "4: network.mtu: ");
  expectMistake(bad, "5: access.rules[0].quota: ");
  expectMistake(checkWith(depot(), "access: {rules: [{user: nobody-there}]}\n"),
                "4: access.rules[0].user: there is no user 'nobody-there'");
  auto several = checkWith(depot() + ", pidfile: " + at("none/pid"),
                           "logging: {file: " + at("none/log") + "}\n");
  expectMistake(several, "2: server.pidfile: cannot open directory " + at("none"));
  expectMistake(several, "4: logging.file: cannot open directory " + at("none"));
}

TEST_F(CheckConfigTest, looksAtTheDirectoriesAndFilesOfLogAndTrails) {
  expectNone(checkWith(depot(), "logging: {file: " + at("log") + "}\n"));
  writeFile(at("log"), "before");
  writeFile(at("trail"), "");
  expectNone(checkWith(
      depot(), "logging: {file: " + at("log") + "}\naudit: {helper: " + at("trail") + "}\n"));
  expectMistake(checkWith(depot(), "audit:\n  helper: " + at("none/a") +
                                       "\n  frontend: " + at("none/b") + "\n"),
                "5: audit.helper: cannot open directory " + at("none") +
                    ": No such file or directory; make it first\n" + path + ":6: audit.frontend: ");
  expectMistake(checkWith(depot(), "logging: {file: " + at("image") + "}\n"),
                "4: logging.file: cannot write " + at("image") + ": Is a directory");
  ASSERT_EQ(symlink(at("log").c_str(), at("link").c_str()), 0);
  expectMistake(checkWith(depot(), "logging: {file: " + at("link") + "}\n"),
                "4: logging.file: cannot write " + at("link"));
  ASSERT_EQ(mkdir(at("trail.head").c_str(), 0755), 0);
  expectMistake(checkWith(depot(), "audit: {helper: " + at("trail") + "}\n"),
                "4: audit.helper: cannot write " + at("trail.head"));
}

TEST_F(CheckConfigTest, looksAtTheDepotAndMakesNone) {
  expectMistake(checkWith("container_depot_path: " + at("none/depot")),
                "2: server.container_depot_path: cannot open directory " + at("none"));
  writeFile(at("file"), "");
  expectMistake(checkWith("container_depot_path: " + at("file")),
                "2: server.container_depot_path: cannot open directory " + at("file"));
  std::filesystem::create_directory(at("depot"));
  expectNone(checkWith(depot()));
  ASSERT_EQ(chmod(at("depot").c_str(), 0777), 0);
  expectMistake(checkWith(depot()),
                "2: server.container_depot_path: " + at("depot") + " must belong to root");
}

TEST_F(CheckConfigTest, looksAtSocketAndPrograms) {
  writeFile(at("warden.sock"), "");
  auto taken = checkWith(depot(), "profiles: {}\n");
  expectMistake(taken,
                "1: server.unix_domain_path: " + at("warden.sock") + " exists and is not a socket");
  std::filesystem::remove(at("warden.sock"));
  auto text = "server: {container_rootfs_path: " + at("image") + ", " + depot() + "}\n" +
              "privhelper:\n  user: nobody\n  wshd_path: " + at("none") + "\n";
  expectMistake(check(text), "4: privhelper.wshd_path: cannot open the program " + at("none"));
}

TEST_F(CheckConfigTest, looksAtProfilesOfAppArmor) {
  expectMistake(checkWith(depot(), "profiles:\n  a.b:\n    apparmor: warden-no-such-profile\n"),
                "6: profiles.a.b.apparmor: ");
}

TEST_F(CheckConfigTest, looksAtTheHealthPortAndLeavesItFree) {
  int raw;
  KJ_SYSCALL(raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Fd other(raw);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* where = reinterpret_cast<sockaddr*>(&address);
  KJ_SYSCALL(bind(other, where, size));
  KJ_SYSCALL(listen(other, 1));
  KJ_SYSCALL(getsockname(other, where, &size));
  std::string section = "health_check_server:\n  port: " + std::to_string(ntohs(address.sin_port));
  expectMistake(checkWith(depot(), section), "5: health_check_server.port: cannot listen on ");
  other = nullptr;
  expectNone(checkWith(depot(), section));
  expectNone(checkWith(depot(), section));
}

class CheckServedConfigTest : public ServerTest {};

TEST_F(CheckServedConfigTest, findsNoMistakeInThatOfAServerThatRuns) {
  startWith({{"health_check_server.port", "18473"}});
  auto result = server().network().run(
      {WARDEN_BIN_DIR "/warden-privhelper", "--check-config", "--config", server().configPath()});
  EXPECT_EQ(result.exitStatus, 0) << result.err;
  EXPECT_EQ(connect().list().size(), 0u);
}

}  // namespace
}  // namespace warden::test
