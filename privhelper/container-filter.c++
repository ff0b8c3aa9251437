#include <errno.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "privhelper/everyday-calls.h"
#include "privhelper/filters.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace warden::privhelper {

namespace {

constexpr uint64_t NAMESPACE_FLAGS = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                                     CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWTIME;

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
