#include <errno.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>

#include "privhelper/filters.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace warden::privhelper {

namespace {

constexpr uint64_t NAMESPACE_FLAGS = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME;

void allowFiles(SeccompFilter& filter) {
  filter.allow({"access",
                "chdir",
                "chmod",
                "chown",
                "chroot",
                "close",
                "close_range",
                "copy_file_range",
                "creat",
                "dup",
                "dup2",
                "dup3",
                "faccessat",
                "faccessat2",
                "fadvise64",
                "fallocate",
                "fchdir",
                "fchmod",
                "fchmodat",
                "fchmodat2",
                "fchown",
                "fchownat",
                "fcntl",
                "fdatasync",
                "fgetxattr",
                "flistxattr",
                "flock",
                "fremovexattr",
                "fsetxattr",
                "fstat",
                "fstatfs",
                "fsync",
                "ftruncate",
                "futimesat",
                "getcwd",
                "getdents",
                "getdents64",
                "getxattr",
                "inotify_add_watch",
                "inotify_init",
                "inotify_init1",
                "inotify_rm_watch",
                "lchown",
                "lgetxattr",
                "link",
                "linkat",
                "listxattr",
                "llistxattr",
                "lremovexattr",
                "lseek",
                "lsetxattr",
                "lstat",
                "mkdir",
                "mkdirat",
                "mknod",
                "mknodat",
                "name_to_handle_at",
                "newfstatat",
                "open",
                "openat",
                "openat2",
                "pread64",
                "preadv",
                "preadv2",
                "pwrite64",
                "pwritev",
                "pwritev2",
                "read",
                "readahead",
                "readlink",
                "readlinkat",
                "readv",
                "removexattr",
                "rename",
                "renameat",
                "renameat2",
                "rmdir",
                "sendfile",
                "setxattr",
                "splice",
                "stat",
                "statfs",
                "statx",
                "symlink",
                "symlinkat",
                "sync",
                "sync_file_range",
                "syncfs",
                "tee",
                "truncate",
                "umask",
                "unlink",
                "unlinkat",
                "utime",
                "utimensat",
                "utimes",
                "vmsplice",
                "write",
                "writev",
                "cachestat",
                "memfd_create",
                "pipe",
                "pipe2",
                "landlock_add_rule",
                "landlock_create_ruleset",
                "landlock_restrict_self"});
}

void allowProcesses(SeccompFilter& filter) {
  filter.allow({"alarm",
                "arch_prctl",
                "capget",
                "capset",
                "execve",
                "execveat",
                "exit",
                "exit_group",
                "fork",
                "getegid",
                "geteuid",
                "getgid",
                "getgroups",
                "getpgid",
                "getpgrp",
                "getpid",
                "getppid",
                "getpriority",
                "getresgid",
                "getresuid",
                "getrlimit",
                "getrusage",
                "getsid",
                "gettid",
                "getuid",
                "getcpu",
                "ioprio_get",
                "ioprio_set",
                "kill",
                "pause",
                "pidfd_getfd",
                "pidfd_open",
                "pidfd_send_signal",
                "prctl",
                "prlimit64",
                "process_madvise",
                "process_mrelease",
                "ptrace",
                "process_vm_readv",
                "process_vm_writev",
                "restart_syscall",
                "rseq",
                "rt_sigaction",
                "rt_sigpending",
                "rt_sigprocmask",
                "rt_sigqueueinfo",
                "rt_sigreturn",
                "rt_sigsuspend",
                "rt_sigtimedwait",
                "rt_tgsigqueueinfo",
                "sched_get_priority_max",
                "sched_get_priority_min",
                "sched_getaffinity",
                "sched_getattr",
                "sched_getparam",
                "sched_getscheduler",
                "sched_rr_get_interval",
                "sched_setaffinity",
                "sched_setattr",
                "sched_setparam",
                "sched_setscheduler",
                "sched_yield",
                "seccomp",
                "set_robust_list",
                "get_robust_list",
                "set_tid_address",
                "setfsgid",
                "setfsuid",
                "setgid",
                "setgroups",
                "setpgid",
                "setpriority",
                "setregid",
                "setresgid",
                "setresuid",
                "setreuid",
                "setrlimit",
                "setsid",
                "setuid",
                "sigaltstack",
                "signalfd",
                "signalfd4",
                "tgkill",
                "time",
                "times",
                "tkill",
                "uname",
                "sysinfo",
                "vfork",
                "wait4",
                "waitid",
                "membarrier"});
  // Only the execution domains that differ in nothing but address layout and uname.
  for (uint64_t domain : {uint64_t(PER_LINUX), uint64_t(ADDR_NO_RANDOMIZE), uint64_t(UNAME26),
                          uint64_t(0xffffffff)}) {
    filter.allowIf("personality", {SCMP_A0(SCMP_CMP_EQ, domain)});
  }
}

void allowMemoryAndTime(SeccompFilter& filter) {
  filter.allow({"brk",
                "futex",
                "futex_wait",
                "futex_wake",
                "futex_requeue",
                "futex_waitv",
                "get_mempolicy",
                "madvise",
                "map_shadow_stack",
                "mbind",
                "mincore",
                "mlock",
                "mlock2",
                "mlockall",
                "mmap",
                "mprotect",
                "mremap",
                "msync",
                "munlock",
                "munlockall",
                "munmap",
                "pkey_alloc",
                "pkey_free",
                "pkey_mprotect",
                "remap_file_pages",
                "set_mempolicy",
                "getrandom",
                "clock_getres",
                "clock_gettime",
                "clock_nanosleep",
                "getitimer",
                "gettimeofday",
                "nanosleep",
                "setitimer",
                "timer_create",
                "timer_delete",
                "timer_getoverrun",
                "timer_gettime",
                "timer_settime",
                "timerfd_create",
                "timerfd_gettime",
                "timerfd_settime",
                "adjtimex",
                "clock_adjtime"});
}

void allowIpcAndNetwork(SeccompFilter& filter) {
  filter.allow({"accept",        "accept4",      "bind",          "connect",         "getpeername",
                "getsockname",   "getsockopt",   "listen",        "recvfrom",        "recvmmsg",
                "recvmsg",       "sendmmsg",     "sendmsg",       "sendto",          "setsockopt",
                "shutdown",      "socketpair",   "epoll_create",  "epoll_create1",   "epoll_ctl",
                "epoll_pwait",   "epoll_pwait2", "epoll_wait",    "eventfd",         "eventfd2",
                "poll",          "ppoll",        "pselect6",      "select",          "io_cancel",
                "io_destroy",    "io_getevents", "io_pgetevents", "io_setup",        "io_submit",
                "mq_getsetattr", "mq_notify",    "mq_open",       "mq_timedreceive", "mq_timedsend",
                "mq_unlink",     "msgctl",       "msgget",        "msgrcv",          "msgsnd",
                "semctl",        "semget",       "semop",         "semtimedop",      "shmat",
                "shmctl",        "shmdt",        "shmget"});
}

void allowEverydayCalls(SeccompFilter& filter) {
  allowFiles(filter);
  allowProcesses(filter);
  allowMemoryAndTime(filter);
  allowIpcAndNetwork(filter);
  filter.allow({"ioctl", "socket"});  // argumentFilter() looks closer
}

}  // namespace

SeccompFilter containerFilter(const Profile& profile) {
  SeccompFilter filter(SCMP_ACT_ERRNO(ENOSYS));
  filter.decide(SCMP_ACT_ALLOW, profile.allowedCalls);
  filter.decide(SCMP_ACT_ERRNO(EPERM), profile.deniedCalls);
  allowEverydayCalls(filter);
  // Creating threads and processes, but no namespace. clone3 passes its flags in memory, where a
  // filter cannot look: it is left at ENOSYS, which makes the C library use clone.
  filter.allowIf("clone", {SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACE_FLAGS, 0)});
  filter.deny(EPERM, {"acct",
                      "add_key",
                      "bpf",
                      "clock_settime",
                      "delete_module",
                      "fanotify_init",
                      "finit_module",
                      "fsconfig",
                      "fsmount",
                      "fsopen",
                      "fspick",
                      "init_module",
                      "io_uring_enter",
                      "io_uring_register",
                      "io_uring_setup",
                      "ioperm",
                      "iopl",
                      "kcmp",
                      "kexec_file_load",
                      "kexec_load",
                      "keyctl",
                      "lookup_dcookie",
                      "memfd_secret",
                      "migrate_pages",
                      "modify_ldt",
                      "mount",
                      "mount_setattr",
                      "move_mount",
                      "move_pages",
                      "nfsservctl",
                      "open_by_handle_at",
                      "open_tree",
                      "perf_event_open",
                      "pivot_root",
                      "quotactl",
                      "quotactl_fd",
                      "reboot",
                      "request_key",
                      "setdomainname",
                      "sethostname",
                      "setns",
                      "settimeofday",
                      "swapoff",
                      "swapon",
                      "syslog",
                      "umount",
                      "umount2",
                      "unshare",
                      "userfaultfd",
                      "uselib",
                      "ustat",
                      "vhangup"});
  return filter;
}

SeccompFilter argumentFilter() {
  constexpr uint64_t LOW_32_BITS = 0xffffffff;
  SeccompFilter filter(SCMP_ACT_ALLOW);
  // TIOCSTI types into a terminal, TIOCLINUX pastes on a console; the request is 32 bit (ioctl(2)).
  for (uint64_t request : {uint64_t(TIOCSTI), uint64_t(TIOCLINUX)}) {
    filter.denyIf(EPERM, "ioctl", {SCMP_A1(SCMP_CMP_MASKED_EQ, LOW_32_BITS, request)});
  }
  // Families but those whose code everyday programs reach anyhow (netlink serves to ask for
  // addresses).
  for (uint64_t family = 0; family < AF_MAX; ++family) {
    if (family == AF_UNIX) continue;
    filter.denyIf(EAFNOSUPPORT, "socketpair", {SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32_BITS, family)});
    if (family == AF_INET || family == AF_INET6 || family == AF_NETLINK) continue;
    filter.denyIf(EAFNOSUPPORT, "socket", {SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32_BITS, family)});
  }
  // Of netlink, what tells addresses and routes; no protocol of firewalls, audit or devices.
  filter.denyIf(
      EPROTONOSUPPORT, "socket",
      {SCMP_A0(SCMP_CMP_MASKED_EQ, LOW_32_BITS, AF_NETLINK), SCMP_A2(SCMP_CMP_NE, NETLINK_ROUTE)});
  // Families of later kernels.
  for (const char* name : {"socket", "socketpair"}) {
    filter.denyIf(EAFNOSUPPORT, name, {SCMP_A0(SCMP_CMP_GE, AF_MAX)});
  }
  return filter;
}

SeccompFilter launcherFilter(const std::vector<Profile>& profiles) {
  SeccompFilter filter(SCMP_ACT_ERRNO(ENOSYS));
  for (auto& profile : profiles)
    filter.decide(SCMP_ACT_ALLOW, profile.allowedCalls);
  allowEverydayCalls(filter);
  filter.allow({"clone", "clone3", "fsconfig", "fsmount", "fsopen", "mount_setattr", "move_mount",
                "open_tree", "pivot_root", "sethostname", "umount2", "unshare"});
  return filter;
}

}  // namespace warden::privhelper
