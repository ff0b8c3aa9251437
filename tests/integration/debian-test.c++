// A container from a real Debian image, as operators use one.

#include <gtest/gtest.h>

#include "tests/support/server-test.h"
#include "tests/support/test-image.h"

namespace warden::test {
namespace {

class DebianTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.image = debianImage();
    start(options);
    client.emplace(connect());
    id = client->create();
  }
  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
  }
  std::string output(const std::string& script, bool privileged = false) {
    return client->output(id, script, privileged);
  }

  std::optional<TestClient> client;
  std::string id;
};

TEST_F(DebianTest, printsTheImagesFactsAsVcap) {
  std::string text = output("id; hostname; cat /etc/os-release");
  EXPECT_NE(text.find("(vcap)"), std::string::npos) << text;
  EXPECT_NE(text.find("\n" + id + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find("VERSION_CODENAME=bookworm"), std::string::npos) << text;
}

TEST_F(DebianTest, printsThemAsRootWhenPrivileged) {
  std::string text = output("id; hostname; cat /etc/os-release", true);
  EXPECT_EQ(text.find("uid=0(root) gid=0(root)"), 0u) << text;
  EXPECT_NE(text.find("VERSION_CODENAME=bookworm"), std::string::npos) << text;
}

TEST_F(DebianTest, runsJobsInBash) {
  EXPECT_EQ(output("echo ${BASH_VERSION:+bash}; a=(1 2 3); echo ${#a[@]}"), "bash\n3\n");
}

TEST_F(DebianTest, letsCommandsReadTheRestOfTheScript) {
  EXPECT_EQ(output("cat\nfirst\nsecond\n"), "first\nsecond\n");
  EXPECT_EQ(output("read line\nthe line\necho got $line"), "got the line\n");
  std::string bytes = std::string("a\0b\xff\xfe\r\n", 7) + std::string(512 * 1024, 'y');
  EXPECT_EQ(output("cat\n" + bytes), bytes);
}

TEST_F(DebianTest, hasHomeAndPasswdEntryOfVcap) {
  EXPECT_EQ(output("cd; pwd; getent passwd vcap | cut -d: -f6"), "/home/vcap\n/home/vcap\n");
}

TEST_F(DebianTest, letsPrivilegedJobsChangeFilesOfThePackageSystem) {
  EXPECT_EQ(output("dpkg -l bash | tail -1 | cut -c1-2; touch /usr/bin/new; rm /bin/ls;"
                   "useradd -m someone; su someone -s /bin/sh -c 'id -un'",
                   true),
            "ii\nsomeone\n");
  EXPECT_EQ(client->output(client->create(), "ls /bin/ls"), "/bin/ls\n");
}

TEST_F(DebianTest, letsADynamicProgramUseThreadsAndTerminals) {
  EXPECT_EQ(output("perl -e 'print 6*7'"), "42");
  EXPECT_EQ(output("script -qec 'tty >/dev/null && echo on-a-tty' /dev/null | tr -d '\\r'"),
            "on-a-tty\n");
}

}  // namespace
}  // namespace warden::test
