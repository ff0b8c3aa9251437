#include "frontend/sandbox.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <kj/io.h>
#include <linux/landlock.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include "base/privilege.h"
#include "base/seccomp-filter.h"

namespace warden::frontend {

namespace {

// Of newer kernels than these headers (linux/landlock.h; Documentation/userspace-api/landlock.rst).
struct LandlockRuleset {
  uint64_t filesystem;
  uint64_t network;  // since version 4
  uint64_t scoped;   // since version 6
};
constexpr uint64_t TRUNCATE = 1 << 14;
constexpr uint64_t FS_VERSION_1 = (1 << 13) - 1;
constexpr uint64_t FS_VERSION_2 = (1 << 14) - 1;
constexpr uint64_t FS_VERSION_3 = (1 << 15) - 1;
constexpr uint64_t FS_VERSION_5 = (1 << 16) - 1;
constexpr uint64_t TCP_BIND_AND_CONNECT = 3;
constexpr uint64_t SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3;

constexpr uint64_t READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t WRITE = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                           LANDLOCK_ACCESS_FS_REMOVE_FILE | TRUNCATE;

void verifyIdentity() {
  uid_t user[3];
  gid_t group[3];
  KJ_SYSCALL(getresuid(&user[0], &user[1], &user[2]));
  KJ_SYSCALL(getresgid(&group[0], &group[1], &group[2]));
  for (int i = 0; i < 3; ++i) {
    KJ_REQUIRE(user[i] != 0 && group[i] != 0, "the frontend must not run as root");
  }
  int count;
  KJ_SYSCALL(count = getgroups(0, nullptr));
  auto groups = kj::heapArray<gid_t>(count);
  KJ_SYSCALL(getgroups(count, groups.begin()));
  for (gid_t member : groups) {
    KJ_REQUIRE(member != 0, "the frontend must not be in root's group");
  }
}

void verifyNoCapability() {
  std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)> held(
      cap_get_proc(), [](void* caps) { return cap_free(caps); });
  if (held == nullptr) KJ_FAIL_SYSCALL("cap_get_proc", errno);
  for (int cap = 0; cap < cap_max_bits(); ++cap) {
    for (cap_flag_t set : {CAP_EFFECTIVE, CAP_PERMITTED, CAP_INHERITABLE}) {
      cap_flag_value_t value;
      KJ_SYSCALL(cap_get_flag(held.get(), cap, set, &value));
      KJ_REQUIRE(value == CAP_CLEAR, "the frontend must not hold a capability", cap);
    }
    KJ_REQUIRE(cap_get_ambient(cap) != CAP_SET, "the frontend must not hold a capability", cap);
  }
}

// The first stack trace of an exception loads the unwinder; that needs paths.
void loadUnwinder() {
  void* frames[4];
  backtrace(frames, 4);
}

void refuseTracing() {
  KJ_SYSCALL(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
  KJ_ASSERT(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
}

void allowBeneath(int ruleset, int directory, uint64_t access) {
  if (directory < 0) return;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = directory;
  KJ_SYSCALL(syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0));
}

int restrictPaths(const SandboxDirectories& directories) {
  long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 0) {
    int error = errno;
    if (error == ENOSYS || error == EOPNOTSUPP) return 0;
    KJ_FAIL_SYSCALL("landlock_create_ruleset", error);
  }
  LandlockRuleset attributes{};
  attributes.filesystem = version >= 5   ? FS_VERSION_5
                          : version >= 3 ? FS_VERSION_3
                          : version == 2 ? FS_VERSION_2
                                         : FS_VERSION_1;
  attributes.network = version >= 4 ? TCP_BIND_AND_CONNECT : 0;
  attributes.scoped = version >= 6 ? SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS : 0;
  // A kernel refuses a larger structure only where the part that it does not know is not zero.
  int raw;
  KJ_SYSCALL(raw = syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0));
  kj::AutoCloseFd ruleset(raw);
  allowBeneath(ruleset, directories.depot, (READ | WRITE) & attributes.filesystem);
  allowBeneath(ruleset, directories.image, READ);
  KJ_SYSCALL(syscall(SYS_landlock_restrict_self, ruleset.get(), 0));
  return version;
}

constexpr uint64_t INT_MASK = 0xffffffff;  // the kernel reads such arguments as 32 bit

void allowMemory(SeccompFilter& filter) {
  filter.allow({"brk", "munmap", "mremap", "madvise"});
  filter.allowIf("mmap", {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
  filter.allowIf("mprotect", {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
}

void allowFiles(SeccompFilter& filter) {
  // Paths that these name are Landlock's matter.
  filter.allow({"openat", "openat2", "unlinkat", "renameat", "renameat2"});
  filter.allow(
      {"read",      "readv", "pread64",   "preadv", "write",       "writev",          "pwrite64",
       "pwritev",   "lseek", "splice",    "tee",    "sendfile",    "copy_file_range", "ftruncate",
       "fallocate", "fsync", "fdatasync", "fstat",  "newfstatat",  "statx",           "getdents64",
       "close",     "dup",   "fcntl",     "pipe2",  "memfd_create"});
  filter.allowIf("ioctl", {SCMP_A1(SCMP_CMP_MASKED_EQ, INT_MASK, FIONREAD)});
}

void allowSockets(SeccompFilter& filter) {
  filter.allow({"accept4", "recvmsg", "recvfrom", "sendmsg", "sendto", "getsockopt", "getsockname",
                "getpeername"});
  // syslog(3) connects again when its daemon was restarted. Only unix sockets can exist to connect.
  constexpr uint64_t SOCKET_TYPE = 0xf;
  // The streams of copies.
  filter.allowIf("socketpair", {SCMP_A0(SCMP_CMP_MASKED_EQ, INT_MASK, AF_UNIX),
                                SCMP_A1(SCMP_CMP_MASKED_EQ, INT_MASK, SOCK_STREAM | SOCK_CLOEXEC)});
  filter.allowIf("socket", {SCMP_A0(SCMP_CMP_MASKED_EQ, INT_MASK, AF_UNIX),
                            SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_TYPE, SOCK_DGRAM)});
  filter.allow({"connect"});
}

void allowEvents(SeccompFilter& filter) {
  filter.allow({"epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "signalfd4",
                "poll", "ppoll", "futex", "clock_gettime", "clock_nanosleep", "gettimeofday",
                "time", "restart_syscall"});
}

void allowProcess(SeccompFilter& filter) {
  filter.allow({"exit", "exit_group", "rt_sigprocmask", "rt_sigaction", "rt_sigreturn",
                "sigaltstack", "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid",
                "getrandom", "sched_yield", "sched_getaffinity", "sysinfo"});
  // abort(3) signals itself.
  filter.allowIf("tgkill",
                 {SCMP_A0(SCMP_CMP_MASKED_EQ, INT_MASK, static_cast<uint64_t>(getpid()))});
  // Reading limits, not setting them.
  filter.allowIf("prlimit64", {SCMP_A2(SCMP_CMP_EQ, 0)});
  // seccompIsActive().
  filter.allowIf("prctl", {SCMP_A0(SCMP_CMP_MASKED_EQ, INT_MASK, PR_GET_SECCOMP)});
}

void restrictSystemCalls() {
  SeccompFilter filter(SCMP_ACT_ERRNO(EPERM));
  filter.logDenials();
  allowMemory(filter);
  allowFiles(filter);
  allowSockets(filter);
  allowEvents(filter);
  allowProcess(filter);
  filter.install();
}

}  // namespace

SandboxReport enterSandbox(const SandboxDirectories& directories) {
  verifyIdentity();
  verifyNoCapability();
  loadUnwinder();
  setNoNewPrivileges();
  refuseTracing();
  // Landlock before the filter, which denies its system calls.
  SandboxReport report{restrictPaths(directories)};
  restrictSystemCalls();
  return report;
}

}  // namespace warden::frontend
