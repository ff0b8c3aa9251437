// A device node that should not be in a container is of no use there: attacks with nodes that the
// host itself has put into the container's /dev.

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

class DevicePolicyTest : public ServerTest {
 protected:
  void SetUp() override {
    start();
    client.emplace(connect());
    handle = client->create();
    devices = "/proc/" + std::to_string(server().wshdPid(idOf(handle))) + "/root/dev/";
  }

  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
  }

  void place(const std::string& name, mode_t type, unsigned major, unsigned minor) {
    auto path = devices + name;
    ASSERT_EQ(mknod(path.c_str(), type, makedev(major, minor)), 0) << strerror(errno);
    ASSERT_EQ(chmod(path.c_str(), 0666), 0);
  }

  std::string tryToOpen(const std::string& name, const std::string& how, bool privileged) {
    return client->output(handle, "(: " + how + " /dev/" + name + ") 2>&1 || true", privileged);
  }

  std::optional<TestClient> client;
  std::string handle;
  std::string devices;
};

TEST_F(DevicePolicyTest, nodesThatAreNotAllowedCannotBeOpened) {
  struct {
    const char* name;
    mode_t type;
    unsigned major, minor;
  } attacks[] = {{"a-mem", S_IFCHR, 1, 1},     {"a-kmsg", S_IFCHR, 1, 11},
                 {"a-tun", S_IFCHR, 10, 200},  {"a-loop-control", S_IFCHR, 10, 237},
                 {"a-loop0", S_IFBLK, 7, 0},   {"a-disk", S_IFBLK, 254, 0},
                 {"a-console", S_IFCHR, 5, 1}, {"a-vcs", S_IFCHR, 7, 0}};
  for (auto& attack : attacks) {
    place(attack.name, attack.type, attack.major, attack.minor);
    for (bool privileged : {false, true}) {
      for (const char* how : {"<", ">", "<>"}) {
        EXPECT_NE(tryToOpen(attack.name, how, privileged).find("Operation not permitted"),
                  std::string::npos)
            << attack.name << how << privileged << tryToOpen(attack.name, how, privileged);
      }
    }
  }
}

TEST_F(DevicePolicyTest, nodesThatAreAllowedCan) {
  // So that the attacks above fail for the reason that they test.
  place("another-zero", S_IFCHR, 1, 5);
  for (bool privileged : {false, true}) {
    EXPECT_EQ(tryToOpen("another-zero", "<>", privileged), "");
    for (const char* name : {"null", "zero", "full", "random", "urandom", "ptmx"})
      EXPECT_EQ(tryToOpen(name, "<", privileged), "") << name;
  }
  // Its own terminals, by their slaves.
  EXPECT_EQ(tryToOpen("pts/ptmx", "<>", true), "");
}

}  // namespace
}  // namespace warden::test
