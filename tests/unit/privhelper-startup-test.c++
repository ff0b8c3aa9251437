#include "privhelper/startup.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace warden::privhelper {
namespace {

class StartupTest : public testing::Test {
 protected:
  std::filesystem::path base;
  Config config;

  StartupTest() {
    char pattern[] = "/tmp/warden-startup-XXXXXX";
    base = mkdtemp(pattern);
    std::filesystem::create_directory(base / "image");
    config.server.containerRootfsPath = base / "image";
    config.server.containerDepotPath = base / "depot";
    config.server.unixDomainPath = base / "warden.sock";
    config.server.pidfile = base / "warden.pid";
  }
  ~StartupTest() override { std::filesystem::remove_all(base); }

  static std::string messageOf(auto&& call) {
    try {
      call();
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  }
};

TEST_F(StartupTest, makesTheDepot) {
  openDepot(config);
  EXPECT_TRUE(std::filesystem::is_directory(base / "depot"));
}

TEST_F(StartupTest, refusesDirectoriesThatOthersMayChange) {
  std::filesystem::create_directory(base / "depot");
  chmod((base / "depot").c_str(), 0777);
  EXPECT_NE(messageOf([&] { openDepot(config); }).find("server.container_depot_path"),
            std::string::npos);
  ASSERT_EQ(chown((base / "image").c_str(), 1, 1), 0);
  EXPECT_NE(messageOf([&] { openImage(config); }).find("server.container_rootfs_path"),
            std::string::npos);
}

TEST_F(StartupTest, refusesADepotThatAnotherServerUses) {
  openDepot(config);
  Fd lock = lockDepot(config);
  EXPECT_NE(messageOf([&] { lockDepot(config); }).find("another server"), std::string::npos);
  lock = nullptr;
  EXPECT_EQ(messageOf([&] { lockDepot(config); }), "");
}

TEST_F(StartupTest, keepsTheHelpersLogApartFromTheFrontends) {
  config.logging.file = base / "warden.log";
  openLog(config);
  openAuditLog(auditOptions(config));
  for (const char* name : {"warden.log.audit", "warden.log.requests"}) {
    struct stat status;
    ASSERT_EQ(stat((base / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
  }
}

TEST_F(StartupTest, refusesAFrontendUserWhoseIdsContainersHave) {
  config.privhelper.user = "nobody";
  EXPECT_EQ(messageOf([&] { policyFrom(config, "w.yml"); }), "");
  config.user.poolStartUid = 65500;  // nobody is 65534
  EXPECT_NE(messageOf([&] { policyFrom(config, "w.yml"); }).find("privhelper.user"),
            std::string::npos);
  config.privhelper.user = "root";
  EXPECT_NE(messageOf([&] { policyFrom(config, "w.yml"); }), "");
  config.privhelper.user = "no-such-user-here";
  EXPECT_NE(messageOf([&] { policyFrom(config, "w.yml"); }), "");
}

TEST_F(StartupTest, refusesAProgramThatOthersMayChange) {
  std::ofstream(base / "program") << "x";
  chmod((base / "program").c_str(), 0775);
  EXPECT_NE(messageOf([&] { openProgram(base / "program", "x"); }), "");
  chmod((base / "program").c_str(), 0755);
  EXPECT_EQ(messageOf([&] { openProgram(base / "program", "x"); }), "");
}

TEST_F(StartupTest, bindsTheSocketWithItsConfiguredMode) {
  config.server.unixDomainPermissions = 0620;
  {
    ListeningSocket socket(config);
    struct stat status;
    ASSERT_EQ(stat(config.server.unixDomainPath.c_str(), &status), 0);
    EXPECT_TRUE(S_ISSOCK(status.st_mode));
    EXPECT_EQ(status.st_mode & 07777, 0620u);
  }
  EXPECT_FALSE(std::filesystem::exists(config.server.unixDomainPath));
}

TEST_F(StartupTest, replacesADeadSocketButNotAServedOne) {
  auto first = kj::heap<ListeningSocket>(config);
  Fd listener = first->takeListener();
  EXPECT_NE(messageOf([&] { ListeningSocket second(config); }).find("already running"),
            std::string::npos);
  listener = nullptr;
  EXPECT_EQ(messageOf([&] { ListeningSocket second(config); }), "");
}

TEST_F(StartupTest, doesNotReplaceWhatIsNotASocket) {
  std::ofstream(config.server.unixDomainPath) << "precious";
  EXPECT_NE(messageOf([&] { ListeningSocket socket(config); }), "");
  EXPECT_TRUE(std::filesystem::is_regular_file(config.server.unixDomainPath));
}

TEST_F(StartupTest, writesThePidfileAndRemovesIt) {
  {
    PidFile file(config);
    std::ifstream in(*config.server.pidfile);
    pid_t pid = 0;
    in >> pid;
    EXPECT_EQ(pid, getpid());
  }
  EXPECT_FALSE(std::filesystem::exists(*config.server.pidfile));
}

TEST_F(StartupTest, doesNotWriteThePidfileThroughALink) {
  std::filesystem::create_symlink(base / "elsewhere", *config.server.pidfile);
  EXPECT_NE(messageOf([&] { PidFile file(config); }), "");
  EXPECT_FALSE(std::filesystem::exists(base / "elsewhere"));
}

}  // namespace
}  // namespace warden::privhelper
