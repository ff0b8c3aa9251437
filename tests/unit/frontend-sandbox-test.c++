// The sandbox, entered by a child for each test. What a child does is only system calls whose
// results it reports.

#include "frontend/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <kj/debug.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "base/path.h"
#include "base/privilege.h"
#include "tests/unit/base-testing.h"

namespace warden::frontend {
namespace {

constexpr uid_t USER = 65533;

class SandboxTest : public testing::Test {
 protected:
  std::string root;
  Fd depot, image, state;

  ~SandboxTest() noexcept override {}

  void SetUp() override {
    if (getuid() != 0) GTEST_SKIP() << "needs root, to become another user";
    char name[] = "/tmp/warden-sandbox-test-XXXXXX";
    root = mkdtemp(name);
    chmod(name, 0755);
    for (const char* directory : {"/depot", "/depot/c", "/depot/c/state", "/image", "/image/etc"}) {
      ASSERT_EQ(mkdir((root + directory).c_str(), 0755), 0);
    }
    ASSERT_EQ(chown((root + "/depot/c/state").c_str(), USER, USER), 0);
    Fd passwd(open((root + "/image/etc/passwd").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
    fchmod(passwd, 0666);
    depot = test::openDirectory(root + "/depot");
    image = test::openDirectory(root + "/image");
    state = test::openDirectory(root + "/depot/c/state");
  }

  void TearDown() override {
    if (!root.empty()) std::filesystem::remove_all(root);
  }

  // Runs `attempt` in the sandbox: 0, or the errno of what it returned -1 for.
  int inSandbox(const std::function<long()>& attempt, bool dropIds = true) {
    pid_t child = fork();
    if (child == 0) {
      try {
        if (dropIds) becomeUser(USER, USER);
        enterSandbox({.depot = depot, .image = image});
      } catch (...) {
        _exit(255);
      }
      errno = 0;
      long result = attempt();
      _exit(result < 0 ? errno : 0);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }

  static bool hasLandlock() { return syscall(SYS_landlock_create_ruleset, nullptr, 0, 1) >= 1; }
};

TEST_F(SandboxTest, readsAndWaitsForTheStatisticsThatItIsHanded) {
  Fd counter(open("/proc/uptime", O_RDONLY | O_CLOEXEC));
  Fd event(eventfd(1, EFD_CLOEXEC));
  ASSERT_GE(counter.get(), 0);
  ASSERT_GE(event.get(), 0);
  EXPECT_EQ(inSandbox([&]() -> long {
              char text[64];
              if (pread(counter, text, sizeof(text), 0) <= 0) return -1;
              if (fcntl(event, F_SETFL, O_NONBLOCK) < 0) return -1;
              int epoll = epoll_create1(EPOLL_CLOEXEC);
              epoll_event wanted{EPOLLIN | EPOLLET, {}};
              if (epoll_ctl(epoll, EPOLL_CTL_ADD, event, &wanted) < 0) return -1;
              epoll_event got;
              if (epoll_wait(epoll, &got, 1, 1000) != 1) return -1;
              uint64_t count;
              return read(event, &count, sizeof(count));
            }),
            0);
}

TEST_F(SandboxTest, refusesRoot) {
  EXPECT_EQ(inSandbox([]() { return 0; }, false), 255);
}

TEST_F(SandboxTest, refusesACapability) {
  pid_t child = fork();
  if (child == 0) {
    try {
      prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
      becomeUser(USER, USER);
      enterSandbox({});
    } catch (const kj::Exception&) {
      _exit(7);
    }
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(SandboxTest, showsInTheProcessStatus) {
  int ready[2], end[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(end, O_CLOEXEC), 0);
  pid_t child = fork();
  if (child == 0) {
    close(end[1]);
    becomeUser(USER, USER);
    enterSandbox({.depot = depot, .image = image});
    char c = 0;
    if (write(ready[1], &c, 1) != 1 || read(end[0], &c, 1) != 0) _exit(1);
    _exit(0);
  }
  close(ready[1]);
  char c;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  Fd file(open(("/proc/" + std::to_string(child) + "/status").c_str(), O_RDONLY | O_CLOEXEC));
  auto bytes = readAll(file, 65536);
  std::string status(reinterpret_cast<char*>(bytes.begin()), bytes.size());
  EXPECT_NE(status.find("NoNewPrivs:\t1"), std::string::npos);
  EXPECT_NE(status.find("Seccomp:\t2"), std::string::npos);
  EXPECT_NE(status.find("CapEff:\t0000000000000000"), std::string::npos);
  EXPECT_NE(status.find("CapPrm:\t0000000000000000"), std::string::npos);
  close(end[1]);
  close(end[0]);
  close(ready[0]);
  waitpid(child, nullptr, 0);
}

TEST_F(SandboxTest, allowsFilesBeneathTheDepot) {
  EXPECT_EQ(inSandbox([&]() -> long {
              Fd file = openBeneath(state, "spool", O_CREAT | O_RDWR | O_TRUNC, 0600);
              if (write(file, "abc", 3) != 3) return -1;
              if (renameat(state, "spool", state, "other") < 0) return -1;
              Fd again = openBeneath(state, "other", O_RDONLY);
              if (ftruncate(file, 0) < 0) return -1;
              return unlinkat(state, "other", 0);
            }),
            0);
}

TEST_F(SandboxTest, allowsNothingButFilesBeneathTheDepot) {
  if (!hasLandlock()) GTEST_SKIP() << "the kernel has no Landlock";
  int directory = state;
  EXPECT_EQ(inSandbox([=]() { return mkdirat(directory, "d", 0755); }), EPERM);
  EXPECT_EQ(inSandbox([=]() { return symlinkat("/", directory, "l"); }), EPERM);
  EXPECT_EQ(inSandbox([=]() { return mknodat(directory, "n", S_IFIFO | 0600, 0); }), EPERM);
  EXPECT_EQ(inSandbox([=]() { return fchmodat(directory, ".", 0777, 0); }), EPERM);
}

TEST_F(SandboxTest, allowsReadingTheImageOnly) {
  int directory = image;
  EXPECT_EQ(inSandbox([=]() -> long {
              return openInRoot(directory, "etc/passwd", O_RDONLY) != nullptr ? 0 : -1;
            }),
            0);
  if (!hasLandlock()) GTEST_SKIP() << "the kernel has no Landlock";
  EXPECT_EQ(inSandbox([=]() { return openat(directory, "etc/passwd", O_WRONLY); }), EACCES);
}

TEST_F(SandboxTest, deniesOtherPaths) {
  if (!hasLandlock()) GTEST_SKIP() << "the kernel has no Landlock";
  EXPECT_EQ(inSandbox([]() { return open("/etc/passwd", O_RDONLY); }), EACCES);
  EXPECT_EQ(inSandbox([]() { return open("/proc/self/status", O_RDONLY); }), EACCES);
  EXPECT_EQ(inSandbox([]() { return open("/dev/null", O_RDONLY); }), EACCES);
  EXPECT_EQ(inSandbox([]() { return open("/tmp/x", O_CREAT | O_WRONLY, 0600); }), EACCES);
}

TEST_F(SandboxTest, deniesPrograms) {
  EXPECT_EQ(inSandbox([]() { return execl("/bin/true", "true", nullptr); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_execveat, 0, "", nullptr, nullptr, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return fork(); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_clone3, nullptr, 0); }), EPERM);
}

TEST_F(SandboxTest, deniesExecutableMemory) {
  auto map = [](int protection) {
    return [=]() -> long {
      return mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1
                                                                                               : 0;
    };
  };
  EXPECT_EQ(inSandbox(map(PROT_READ | PROT_WRITE)), 0);
  EXPECT_EQ(inSandbox(map(PROT_READ | PROT_EXEC)), EPERM);
  EXPECT_EQ(inSandbox([=]() -> long {
              void* page = mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return mprotect(page, 4096, PROT_READ | PROT_EXEC);
            }),
            EPERM);
}

TEST_F(SandboxTest, allowsOnlyDatagramUnixSockets) {
  EXPECT_EQ(inSandbox([]() { return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); }), 0);
  EXPECT_EQ(inSandbox([]() { return socket(AF_UNIX, SOCK_STREAM, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return socket(AF_INET, SOCK_DGRAM, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return socket(AF_INET6, SOCK_STREAM, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return socket(AF_NETLINK, SOCK_RAW, 0); }), EPERM);
  int pair[2];
  EXPECT_EQ(inSandbox([&]() { return socketpair(AF_UNIX, SOCK_STREAM, 0, pair); }), EPERM);
}

class ListenerTest : public SandboxTest {
  // warden.sock as a frontend has it: its successors get the same open socket.

 protected:
  Fd listener;
  sockaddr_un address{.sun_family = AF_UNIX};

  ~ListenerTest() noexcept override {}

  void SetUp() override {
    SandboxTest::SetUp();
    if (IsSkipped()) return;
    strcpy(address.sun_path, (root + "/warden.sock").c_str());
    listener = Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener, 16), 0);
  }

  void expectServing() {
    Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    Fd accepted(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_GE(accepted.get(), 0);
  }
};

TEST_F(ListenerTest, cannotBeShutDownForASuccessor) {
  int fd = listener;
  for (int how : {SHUT_RD, SHUT_WR, SHUT_RDWR}) {
    EXPECT_EQ(inSandbox([=]() { return shutdown(fd, how); }), EPERM);
  }
  expectServing();
}

TEST_F(ListenerTest, cannotBeMadeToRefuseConnections) {
  int fd = listener;
  EXPECT_EQ(inSandbox([=]() { return listen(fd, 0); }), EPERM);
  EXPECT_EQ(inSandbox([=]() {
              sockaddr_un other{.sun_family = AF_UNIX};
              return bind(fd, reinterpret_cast<sockaddr*>(&other), sizeof(other));
            }),
            EPERM);
  // A packet filter that drops all, a receive time that is over at once.
  int one = 1;
  timeval instant{0, 1};
  for (int option : {SO_ATTACH_FILTER, SO_LOCK_FILTER, SO_RCVBUF, SO_PASSCRED}) {
    EXPECT_EQ(inSandbox([=]() { return setsockopt(fd, SOL_SOCKET, option, &one, sizeof(one)); }),
              EPERM);
  }
  EXPECT_EQ(inSandbox([=]() {
              return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &instant, sizeof(instant));
            }),
            EPERM);
  EXPECT_EQ(inSandbox([this]() { return unlink(address.sun_path); }), EPERM);
  expectServing();
}

TEST_F(ListenerTest, survivesAFrontendThatClosesIt) {
  int fd = listener;
  EXPECT_EQ(inSandbox([=]() { return close(fd); }), 0);
  expectServing();
}

TEST_F(SandboxTest, deniesWhatTakesPrivilegeOrOtherProcesses) {
  pid_t parent = getpid();
  EXPECT_EQ(inSandbox([=]() { return kill(parent, 0); }), EPERM);
  EXPECT_EQ(inSandbox([=]() { return syscall(SYS_tgkill, parent, parent, 0); }), EPERM);
  EXPECT_EQ(inSandbox([=]() { return ptrace(PTRACE_TRACEME, 0, 0, 0); }), EPERM);
  EXPECT_EQ(inSandbox([=]() { return syscall(SYS_pidfd_open, parent, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_unshare, 0x10000000); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_mount, "", "/", "", 0, ""); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_bpf, 0, nullptr, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_keyctl, 0, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_io_uring_setup, 1, nullptr); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_setuid, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }), EPERM);
  EXPECT_EQ(inSandbox([]() { return syscall(SYS_seccomp, 0, 0, nullptr); }), EPERM);
  rlimit limit{0, 0};
  EXPECT_EQ(inSandbox([&]() { return setrlimit(RLIMIT_NOFILE, &limit); }), EPERM);
  EXPECT_EQ(inSandbox([&]() { return getrlimit(RLIMIT_NOFILE, &limit); }), 0);
}

TEST_F(SandboxTest, leavesExceptionsAndAbortWorking) {
  EXPECT_EQ(inSandbox([]() -> long {
              try {
                KJ_FAIL_REQUIRE("a failure");
              } catch (const kj::Exception& e) {
                return kj::str(e).size() > 0 ? 0 : -1;
              }
            }),
            0);
  EXPECT_EQ(inSandbox([]() -> long { abort(); }), 1000 + SIGABRT);
}

}  // namespace
}  // namespace warden::frontend
