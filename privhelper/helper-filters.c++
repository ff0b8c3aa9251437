#include <errno.h>
#include <linux/sockios.h>
#include <linux/un.h>
#include <sched.h>
#include <sys/socket.h>

#include "privhelper/filters.h"

namespace warden::privhelper {

namespace {

void allowRuntime(SeccompFilter& filter) {
  // What the C and C++ run time do by themselves, and ending.
  filter.allow({"brk",         "clock_gettime",   "close",          "exit",
                "exit_group",  "fstat",           "futex",          "getpid",
                "getrandom",   "gettid",          "lseek",          "madvise",
                "mremap",      "munmap",          "newfstatat",     "poll",
                "ppoll",       "prctl",           "read",           "restart_syscall",
                "rseq",        "rt_sigaction",    "rt_sigprocmask", "rt_sigreturn",
                "sched_yield", "set_robust_list", "sigaltstack",    "tgkill",
                "write",       "writev",          "fcntl",          "clock_nanosleep"});
  // Memory, but none that can be executed.
  for (const char* name : {"mmap", "mprotect"}) {
    filter.allowIf(name, {SCMP_A2(SCMP_CMP_MASKED_EQ, /* PROT_EXEC */ 4, 0)});
  }
}

}  // namespace

SeccompFilter brokerFilter() {
  SeccompFilter filter(SCMP_ACT_ERRNO(EPERM));
  allowRuntime(filter);
  filter.allow({"accept4",      "bind",       "connect",    "faccessat",       "faccessat2",
                "fchmod",       "fchown",     "fchownat",   "fsconfig",        "fsmount",
                "fsopen",       "ftruncate",  "getdents64", "getsockopt",      "listen",
                "memfd_create", "mkdir",      "mkdirat",    "mknodat",         "mount_setattr",
                "move_mount",   "openat",     "openat2",    "open_tree",       "pidfd_send_signal",
                "pwrite64",     "readlinkat", "recvmsg",    "renameat",        "renameat2",
                "sendmsg",      "setsockopt", "symlinkat",  "timerfd_settime", "umount2",
                "unlinkat",     "umask"});
  // A container's out-of-memory event; stale processes, which are never signalled by number.
  filter.allow({"eventfd2", "pidfd_open"});
  // A limit of memory, which the kernel is not to work at without end.
  filter.allow({"setitimer"});
  // The audit trail, whose space is allocated before an operation begins.
  filter.allow({"fallocate", "pread64"});
  for (const char* name : {"socket", "socketpair"}) {
    filter.allowIf(name, {SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffff, AF_UNIX)});
  }
  // Whose socket it is.
  filter.allowIf("ioctl", {SCMP_A1(SCMP_CMP_EQ, SIOCUNIXFILE)});
  return filter;
}

namespace {

void allowHostFiles(SeccompFilter& filter) {
  filter.allow({"chdir",      "copy_file_range", "faccessat",  "faccessat2", "dup",
                "fadvise64",  "fallocate",       "fchdir",     "fchmod",     "fchmodat",
                "fchmodat2",  "fchown",          "fchownat",   "fstatfs",    "ftruncate",
                "getdents64", "getppid",         "getsockopt", "linkat",     "memfd_create",
                "mkdirat",    "openat",          "openat2",    "pread64",    "pwrite64",
                "readlinkat", "recvfrom",        "recvmsg",    "renameat",   "renameat2",
                "sendfile",   "sendmsg",         "sendto",     "splice",     "statx",
                "symlinkat",  "umask",           "unlinkat",   "utimensat"});
}

}  // namespace

SeccompFilter porterFilter() {
  SeccompFilter filter(SCMP_ACT_ERRNO(EPERM));
  allowRuntime(filter);
  allowHostFiles(filter);
  filter.allow({"chroot",        "capget",    "capset",     "close_range",       "dup2",
                "getgid",        "getgroups", "getresgid",  "getresuid",         "getuid",
                "mount_setattr", "open_tree", "pidfd_open", "pidfd_send_signal", "seccomp",
                "setgroups",     "setresgid", "setresuid",  "setsockopt",        "wait4"});
  filter.allowIf("socketpair", {SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffff, AF_UNIX)});
  // A process, in the namespaces that there are.
  constexpr uint64_t NEW_NAMESPACES = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                                      CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  filter.allowIf("clone", {SCMP_A0(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0)});
  return filter;
}

SeccompFilter porterWorkerFilter() {
  SeccompFilter filter(SCMP_ACT_ERRNO(EPERM));
  allowRuntime(filter);
  // Opening an image or a source, copies of an image's files, and the answer.
  filter.allow({"faccessat", "faccessat2", "fstatfs", "memfd_create", "openat2", "sendmsg"});
  // A tree of files to or from a stream (base/tree-archive.h).
  filter.allow({"fchmod", "fchmodat2", "fchown", "fchownat", "ftruncate", "getdents64", "mkdirat",
                "openat", "pread64", "pwrite64", "readlinkat", "renameat", "sendto", "symlinkat",
                "unlinkat"});
  return filter;
}

SeccompFilter observerFilter() {
  SeccompFilter filter(SCMP_ACT_ERRNO(EPERM));
  allowRuntime(filter);
  filter.allow({"readlinkat"});
  return filter;
}

SeccompFilter sweeperFilter() {
  SeccompFilter filter(SCMP_ACT_ERRNO(EPERM));
  allowRuntime(filter);
  filter.allow(
      {"dup", "fchdir", "fchmod", "getdents64", "openat", "renameat", "renameat2", "unlinkat"});
  return filter;
}

}  // namespace warden::privhelper
