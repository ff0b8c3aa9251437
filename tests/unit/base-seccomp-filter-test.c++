// Filters are installed in forked children, which then make the system calls in question. Each
// filter that denies by default lets prctl through, because install() looks back at what it did.
#include "base/seccomp-filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>

#include "base-testing.h"
#include "base/privilege.h"

namespace warden {
namespace {

constexpr int KILLED = 128 + SIGSYS;

#if defined(__x86_64__)
// A system call by the i386 entry, which 64-bit programs can use as well. Arguments must lie below
// 4 GiB; getpid (20) has none.
long callI386(long number) {
  long result;
  asm volatile("int $0x80" : "=a"(result) : "a"(number) : "memory", "r8", "r9", "r10", "r11");
  return result;
}

constexpr long I386_GETPID = 20;
constexpr long X32_BIT = 0x40000000;
#endif

SeccompFilter everythingBut(int error, std::initializer_list<const char*> names) {
  SeccompFilter filter(SCMP_ACT_ALLOW);
  filter.deny(error, names);
  return filter;
}

// Denies by default. What the sanitizers' runtime needs stays open to it; no test looks at these.
SeccompFilter nothingBut(uint32_t defaultAction, std::initializer_list<const char*> names) {
  SeccompFilter filter(defaultAction);
#if defined(__SANITIZE_ADDRESS__)
  filter.allow({"mmap", "munmap", "mprotect", "madvise", "futex", "sigaltstack", "rt_sigprocmask"});
#endif
  filter.allow(names);
  return filter;
}

TEST(SeccompFilterTest, deniesWithTheErrorItIsGiven) {
  EXPECT_EQ(test::inChild([] {
              setNoNewPrivileges();
              everythingBut(EXDEV, {"getppid", "socket"}).install();
              errno = 0;
              CHILD_EXPECT(syscall(SYS_getppid) == -1 && errno == EXDEV);
              CHILD_EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) == -1 && errno == EXDEV);
              CHILD_EXPECT(syscall(SYS_getpid) > 0);
              return 0;
            }),
            0);
}

TEST(SeccompFilterTest, deniesWhatIsNotAllowed) {
  EXPECT_EQ(
      test::inChild([] {
        setNoNewPrivileges();
        SeccompFilter filter = nothingBut(SCMP_ACT_ERRNO(EPERM), {"exit_group", "write", "prctl"});
        filter.install();
        CHILD_EXPECT(syscall(SYS_getppid) == -1 && errno == EPERM);
        CHILD_EXPECT(syscall(SYS_openat, AT_FDCWD, "/etc/passwd", 0) == -1 && errno == EPERM);
        CHILD_EXPECT(syscall(SYS_unshare, 0) == -1 && errno == EPERM);
        CHILD_EXPECT(syscall(9999) == -1 && errno == EPERM);
        return 0;
      }),
      0);
}

TEST(SeccompFilterTest, killsWhereTheDefaultKills) {
  EXPECT_EQ(test::inChild([] {
              setNoNewPrivileges();
              SeccompFilter filter = nothingBut(SCMP_ACT_KILL_PROCESS, {"exit_group", "prctl"});
              filter.install();
              syscall(SYS_getppid);
              return 0;
            }),
            KILLED);
}

TEST(SeccompFilterTest, isSeenAsActive) {
  EXPECT_EQ(test::inChild([] {
              CHILD_EXPECT(!seccompIsActive());
              setNoNewPrivileges();
              SeccompFilter(SCMP_ACT_ALLOW).deny(EPERM, {"reboot"}).install();
              CHILD_EXPECT(seccompIsActive());
              return 0;
            }),
            0);
}

TEST(SeccompFilterTest, decidesByArguments) {
  EXPECT_EQ(test::inChild([] {
              setNoNewPrivileges();
              SeccompFilter filter(SCMP_ACT_ALLOW);
              filter.denyIf(EACCES, "ioctl", {SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, TIOCSTI)});
              filter.install();
              char c = 'x';
              CHILD_EXPECT(ioctl(0, TIOCSTI, &c) == -1 && errno == EACCES);
              // The kernel looks at the low 32 bits only; bits above must not get past the filter.
              CHILD_EXPECT(syscall(SYS_ioctl, 0, 0xdead00000000ul | TIOCSTI, &c) == -1 &&
                           errno == EACCES);
              CHILD_EXPECT(ioctl(-1, TCGETS, &c) == -1 && errno == EBADF);
              return 0;
            }),
            0);
}

TEST(SeccompFilterTest, allowsByArguments) {
  EXPECT_EQ(test::inChild([] {
              setNoNewPrivileges();
              SeccompFilter filter =
                  nothingBut(SCMP_ACT_ERRNO(EPERM), {"exit_group", "write", "close", "prctl"});
              filter.allowIf("socket", {SCMP_A0(SCMP_CMP_EQ, AF_UNIX)});
              filter.install();
              CHILD_EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
              CHILD_EXPECT(socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EPERM);
              CHILD_EXPECT(socket(AF_NETLINK, SOCK_RAW, 0) == -1 && errno == EPERM);
              return 0;
            }),
            0);
}

TEST(SeccompFilterTest, passesOverNamesThatDoNotExist) {
  SeccompFilter filter(SCMP_ACT_ERRNO(EPERM));
  filter.allow({"no_such_call", "read"}).deny(EPERM, {"nor_this"}).allowIf("nor_that", {});
  EXPECT_GT(filter.compile().size(), 0u);
}

TEST(SeccompFilterTest, allowsNoCallOfNamesOfOtherArchitectures) {
  // socketcall exists on i386 only: a rule for it must not open anything here.
  EXPECT_EQ(test::inChild([] {
              setNoNewPrivileges();
              SeccompFilter filter =
                  nothingBut(SCMP_ACT_ERRNO(EPERM),
                             {"exit_group", "write", "prctl", "socketcall", "mmap2", "stat64"});
              filter.install();
              CHILD_EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) == -1 && errno == EPERM);
              CHILD_EXPECT(syscall(102 /* socketcall of i386, getuid of x86_64 */) == -1 &&
                           errno == EPERM);
              return 0;
            }),
            0);
}

#if defined(__x86_64__)
TEST(SeccompFilterTest, answersI386CallsWithTheDefault) {
  // Refused with EPERM, although getpid itself is allowed: by its number in the other ABI it is
  // something else.
  int status = test::inChild([] {
    if (callI386(I386_GETPID) != getpid()) return 77;
    setNoNewPrivileges();
    SeccompFilter filter =
        nothingBut(SCMP_ACT_ERRNO(EPERM), {"exit_group", "write", "prctl", "getpid", "writev"});
    filter.install();
    CHILD_EXPECT(syscall(SYS_getpid) > 0);
    CHILD_EXPECT(callI386(I386_GETPID) == -EPERM);
    return 0;
  });
  if (status == 77 || status == 128 + SIGSEGV) GTEST_SKIP() << "this kernel takes no i386 calls";
  EXPECT_EQ(status, 0);
}

TEST(SeccompFilterTest, killsI386CallsWhereTheDefaultKills) {
  int status = test::inChild([] {
    if (callI386(I386_GETPID) != getpid()) return 77;
    setNoNewPrivileges();
    SeccompFilter filter = nothingBut(SCMP_ACT_KILL_PROCESS, {"exit_group", "getpid", "prctl"});
    filter.install();
    callI386(I386_GETPID);
    return 0;
  });
  if (status == 77 || status == 128 + SIGSEGV) GTEST_SKIP() << "this kernel takes no i386 calls";
  EXPECT_EQ(status, KILLED);
}

TEST(SeccompFilterTest, answersX32CallsWithTheDefault) {
  EXPECT_EQ(test::inChild([] {
              setNoNewPrivileges();
              SeccompFilter filter =
                  nothingBut(SCMP_ACT_ERRNO(EXDEV), {"exit_group", "write", "prctl", "getpid"});
              filter.install();
              CHILD_EXPECT(syscall(SYS_getpid) > 0);
              // Kernels without x32 would answer ENOSYS; the filter comes first.
              CHILD_EXPECT(syscall(X32_BIT | SYS_getpid) == -1 && errno == EXDEV);
              CHILD_EXPECT(syscall(X32_BIT | 512) == -1 && errno == EXDEV);
              return 0;
            }),
            0);
}

TEST(SeccompFilterTest, killsX32CallsWhereTheDefaultKills) {
  EXPECT_EQ(
      test::inChild([] {
        setNoNewPrivileges();
        SeccompFilter filter = nothingBut(SCMP_ACT_KILL_PROCESS, {"exit_group", "getpid", "prctl"});
        filter.install();
        syscall(X32_BIT | SYS_getpid);
        return 0;
      }),
      KILLED);
}
#endif

TEST(SeccompFilterTest, compiledProgramDoesWhatTheInstalledDoes) {
  EXPECT_EQ(test::inChild([] {
              auto program = everythingBut(EXDEV, {"getppid"}).compile();
              setNoNewPrivileges();
              sock_fprog prog{static_cast<unsigned short>(program.size()), program.begin()};
              CHILD_EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) == 0);
              CHILD_EXPECT(syscall(SYS_getppid) == -1 && errno == EXDEV);
              return 0;
            }),
            0);
}

TEST(SeccompFilterTest, holdsInChildrenAndAfterExec) {
  EXPECT_EQ(test::inChild([] {
              setNoNewPrivileges();
              everythingBut(EXDEV, {"mkdir", "mkdirat"}).install();
              execl("/bin/sh", "sh", "-c", "! mkdir /tmp/warden-filter-test 2>/dev/null", nullptr);
              return 2;
            }),
            0);
}

TEST(SeccompFilterTest, cannotBeInstalledWithoutNoNewPrivileges) {
  EXPECT_EQ(test::inChild([] {
              if (getuid() == 0) becomeUser(54321, 54321);
              try {
                everythingBut(EPERM, {"reboot"}).install();
              } catch (...) {
                return 0;
              }
              return 1;
            }),
            0);
}

}  // namespace
}  // namespace warden
