// Which devices a container may use, whatever nodes it has.

#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "tests/support/server-test.h"

namespace warden::test {
namespace {

class DevicesTest : public ServerTest {
 protected:
  void SetUp() override {
    start();
    client.emplace(connect());
    client->create("c");
  }

  void TearDown() override {
    client.reset();
    ServerTest::TearDown();
  }

  // A node in the container's /dev, made from outside: what is left of the defences is the cgroup.
  // Its file system is the only one of the container that is not `nodev`.
  void makeNode(const std::string& name, mode_t type, unsigned majorNumber, unsigned minorNumber) {
    std::string path = "/proc/" + std::to_string(server().wshdPid(idOf("c"))) + "/root/dev/" + name;
    KJ_SYSCALL(mknod(path.c_str(), type | 0666, makedev(majorNumber, minorNumber)), path.c_str());
    KJ_SYSCALL(chmod(path.c_str(), 0666));
  }

  std::string whyNot(const std::string& script, bool privileged) {
    auto response = client->run("c", script, privileged);
    EXPECT_NE(response.exit_status(), 0u) << script;
    return response.stderr();
  }

  std::optional<TestClient> client;
};

TEST_F(DevicesTest, areThoseThatTheProtocolNames) {
  for (bool privileged : {false, true}) {
    EXPECT_EQ(client->output("c",
                             "for d in null zero random urandom tty fuse; do"
                             " test -c /dev/$d || echo no $d; done;"
                             "test -c /dev/ptmx || echo no ptmx; test -d /dev/pts || echo no pts;"
                             "for l in fd stdin stdout stderr; do"
                             " test -L /dev/$l || echo no $l; done; ls -d /dev/fd/0",
                             privileged),
              "/dev/fd/0\n");
  }
}

TEST_F(DevicesTest, workForEveryUser) {
  for (bool privileged : {false, true}) {
    EXPECT_EQ(client->output("c",
                             "set -e; echo gone > /dev/null; cat /dev/null;"
                             "head -c 4 /dev/zero | od -An -tx1 | tr -d ' ';"
                             "head -c 8 /dev/urandom | wc -c; head -c 8 /dev/random | wc -c;"
                             ": <> /dev/ptmx; : <> /dev/fuse",
                             privileged),
              "00000000\n8\n8\n");
  }
}

TEST_F(DevicesTest, controllingTerminalIsNone) {
  std::string error = whyNot(": <> /dev/tty", false);
  EXPECT_NE(error.find("No such device"), std::string::npos) << error;
}

TEST_F(DevicesTest, anotherNodeOfAnAllowedOneWorks) {
  makeNode("also-null", S_IFCHR, 1, 3);
  client->output("c", "echo x > /dev/also-null");
}

TEST_F(DevicesTest, othersAreRefusedEvenIfThereIsANode) {
  struct Node {
    const char* name;
    mode_t type;
    unsigned majorNumber, minorNumber;
  };
  // Most would open for anybody who has a node: the loop control device, a virtual terminal, the
  // network tunnel, kvm; numbers that no driver has would say "No such device or address".
  constexpr Node NODES[] = {{"x-loop-control", S_IFCHR, 10, 237},
                            {"x-mem", S_IFCHR, 1, 1},
                            {"x-kmsg", S_IFCHR, 1, 11},
                            {"x-port", S_IFCHR, 1, 4},
                            {"x-terminal", S_IFCHR, 4, 1},
                            {"x-tun", S_IFCHR, 10, 200},
                            {"x-kvm", S_IFCHR, 10, 232},
                            {"x-unused", S_IFCHR, 240, 7},
                            {"x-loop", S_IFBLK, 7, 0},
                            {"x-disk", S_IFBLK, 8, 0},
                            {"x-ram", S_IFBLK, 1, 3}};
  for (const auto& node : NODES) {
    makeNode(node.name, node.type, node.majorNumber, node.minorNumber);
    for (bool privileged : {false, true}) {
      for (const char* way : {"<", ">", "<>"}) {
        std::string script = std::string(": ") + way + " /dev/" + node.name;
        std::string error = whyNot(script, privileged);
        EXPECT_NE(error.find("Operation not permitted"), std::string::npos) << script << error;
      }
    }
  }
}

// That what is in it counts as memory: OutOfMemoryTest.
TEST_F(DevicesTest, sharedMemoryIsATmpfsForEverybody) {
  for (bool privileged : {false, true}) {
    EXPECT_EQ(client->output("c",
                             "grep -c ' /dev/shm tmpfs rw,' /proc/self/mounts;"
                             "echo kept > /dev/shm/file; cat /dev/shm/file; rm /dev/shm/file",
                             privileged),
              "1\nkept\n");
  }
}

TEST_F(DevicesTest, nodesAreNotMadeInside) {
  for (bool privileged : {false, true}) {
    EXPECT_NE(whyNot("mknod /tmp/null c 1 3", privileged), "");
    EXPECT_NE(whyNot("mknod /dev/null2 c 1 3", privileged), "");
  }
}

}  // namespace
}  // namespace warden::test
