// Every test gives its privilege up in a forked child, and there tries to use it.
#include "base/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "base-testing.h"

namespace warden {
namespace {

constexpr uid_t SOMEBODY = 54321;

// The set's line of /proc/self/status, as a number: "CapEff", "CapBnd", ...
unsigned long long statusSet(const char* name) {
  FILE* file = fopen("/proc/self/status", "re");
  char line[256];
  unsigned long long value = ~0ull;
  while (fgets(line, sizeof(line), file) != nullptr) {
    if (strncmp(line, name, strlen(name)) == 0) sscanf(line + strlen(name), ":\t%llx", &value);
  }
  fclose(file);
  return value;
}

class PrivilegeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to have something to give up";
  }
};

TEST_F(PrivilegeTest, becomesAnotherUserForGood) {
  EXPECT_EQ(test::inChild([] {
              becomeUser(SOMEBODY, SOMEBODY + 1);
              CHILD_EXPECT(getuid() == SOMEBODY && geteuid() == SOMEBODY);
              CHILD_EXPECT(getgid() == SOMEBODY + 1 && getegid() == SOMEBODY + 1);
              CHILD_EXPECT(getgroups(0, nullptr) == 0);
              CHILD_EXPECT(setuid(0) < 0 && seteuid(0) < 0 && setgid(0) < 0);
              CHILD_EXPECT(setgroups(0, nullptr) < 0);
              CHILD_EXPECT(open("/etc/shadow", O_RDONLY) < 0);
              CHILD_EXPECT(statusSet("CapEff") == 0 && statusSet("CapPrm") == 0);
              return 0;
            }),
            0);
}

TEST_F(PrivilegeTest, keepsExactlyTheGroupsItIsGiven) {
  EXPECT_EQ(test::inChild([] {
              gid_t groups[] = {5, 77};
              becomeUser(SOMEBODY, SOMEBODY, groups);
              gid_t got[8];
              CHILD_EXPECT(getgroups(8, got) == 2 && got[0] == 5 && got[1] == 77);
              return 0;
            }),
            0);
}

TEST_F(PrivilegeTest, becomeUserFailsWithoutTheRightTo) {
  EXPECT_EQ(test::inChild([] {
              becomeUser(SOMEBODY, SOMEBODY);
              try {
                becomeUser(SOMEBODY + 1, SOMEBODY);
              } catch (...) {
                return 0;
              }
              return 1;
            }),
            0);
}

TEST_F(PrivilegeTest, limitsCapabilitiesToThoseKept) {
  EXPECT_EQ(test::inChild([] {
              int keep[] = {CAP_CHOWN, CAP_KILL};
              limitCapabilities(keep);
              unsigned long long wanted = 1ull << CAP_CHOWN | 1ull << CAP_KILL;
              CHILD_EXPECT(statusSet("CapEff") == wanted);
              CHILD_EXPECT(statusSet("CapPrm") == wanted);
              CHILD_EXPECT(statusSet("CapBnd") == wanted);
              CHILD_EXPECT(statusSet("CapInh") == 0 && statusSet("CapAmb") == 0);
              CHILD_EXPECT(unshare(CLONE_NEWNS) < 0 && errno == EPERM);
              CHILD_EXPECT(setuid(SOMEBODY) < 0 && errno == EPERM);
              int fd = memfd_create("x", 0);
              CHILD_EXPECT(fchown(fd, SOMEBODY, SOMEBODY) == 0);
              return 0;
            }),
            0);
}

TEST_F(PrivilegeTest, limitedCapabilitiesDoNotComeBackByExec) {
  // Root that executes a program gets its bounding set back, no more (capabilities(7)).
  int keep[] = {CAP_CHOWN};
  EXPECT_EQ(test::inChild([&] {
              limitCapabilities(keep);
              execl("/bin/sh", "sh", "-c", "grep -q 'CapEff:.0000000000000001$' /proc/self/status",
                    nullptr);
              return 1;
            }),
            0);
}

TEST_F(PrivilegeTest, cannotWidenWhatWasLimited) {
  EXPECT_EQ(test::inChild([] {
              int keep[] = {CAP_CHOWN, CAP_SETPCAP};
              limitCapabilities(keep);
              int more[] = {CAP_CHOWN, CAP_SYS_ADMIN};
              limitCapabilities(more);  // as far as the process has them
              CHILD_EXPECT(statusSet("CapEff") == 1ull << CAP_CHOWN);
              CHILD_EXPECT(statusSet("CapBnd") == 1ull << CAP_CHOWN);
              return 0;
            }),
            0);
}

TEST_F(PrivilegeTest, limitingClearsAmbientAndInheritable) {
  EXPECT_EQ(test::inChild([] {
              cap_value_t chown = CAP_CHOWN;
              cap_t caps = cap_get_proc();
              cap_set_flag(caps, CAP_INHERITABLE, 1, &chown, CAP_SET);
              CHILD_EXPECT(cap_set_proc(caps) == 0);
              CHILD_EXPECT(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) == 0);
              int keep[] = {CAP_CHOWN};
              limitCapabilities(keep);
              CHILD_EXPECT(statusSet("CapInh") == 0 && statusSet("CapAmb") == 0);
              return 0;
            }),
            0);
}

TEST_F(PrivilegeTest, dropsAll) {
  EXPECT_EQ(test::inChild([] {
              dropAllCapabilities();
              for (const char* set : {"CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"}) {
                CHILD_EXPECT(statusSet(set) == 0);
              }
              CHILD_EXPECT(unshare(CLONE_NEWNS) < 0);
              return 0;
            }),
            0);
}

TEST_F(PrivilegeTest, dropsAllWithoutTheRightToShrinkTheBoundingSet) {
  EXPECT_EQ(test::inChild([] {
              becomeUser(SOMEBODY, SOMEBODY);
              dropAllCapabilities();
              CHILD_EXPECT(statusSet("CapEff") == 0 && statusSet("CapPrm") == 0);
              CHILD_EXPECT(statusSet("CapInh") == 0 && statusSet("CapAmb") == 0);
              return 0;
            }),
            0);
}

TEST_F(PrivilegeTest, limitFailsWhenTheBoundingSetCannotShrink) {
  EXPECT_EQ(test::inChild([] {
              becomeUser(SOMEBODY, SOMEBODY);
              try {
                limitCapabilities(nullptr);
              } catch (...) {
                return 0;
              }
              return 1;
            }),
            0);
}

TEST_F(PrivilegeTest, noNewPrivilegesStopsSetuidPrograms) {
  // A setuid root copy of `id` on a file system that honours the bit.
  test::TemporaryDirectory directory;
  chmod(directory.path.c_str(), 0755);
  std::string program = directory.path + "/id";
  ASSERT_EQ(test::inChild([&] {
              execl("/bin/cp", "cp", "/usr/bin/id", program.c_str(), nullptr);
              return 1;
            }),
            0);
  ASSERT_EQ(chmod(program.c_str(), 04755), 0);
  auto runsAsRoot = [&](bool noNewPrivileges) {
    return test::inChild([&] {
             if (noNewPrivileges) setNoNewPrivileges();
             becomeUser(SOMEBODY, SOMEBODY);
             std::string command = "test \"$(" + program + " -u)\" = 0";
             execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
             return 2;
           }) == 0;
  };
  if (!runsAsRoot(false)) GTEST_SKIP() << directory.path << " is mounted nosuid";
  EXPECT_FALSE(runsAsRoot(true));
}

}  // namespace
}  // namespace warden
