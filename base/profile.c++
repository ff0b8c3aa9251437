#include "base/profile.h"

#include <linux/capability.h>

#include <algorithm>
#include <iterator>

namespace warden {

namespace {

// What is not here acts on more than a container's namespaces, or undoes its confinement.
constexpr CapabilityName CAPABILITIES[] = {
    {"chown", CAP_CHOWN, true},                // package installation, log rotation
    {"dac_override", CAP_DAC_OVERRIDE, true},  // root manages files of other users
    {"fowner", CAP_FOWNER, true},              // likewise: modes and times
    {"fsetid", CAP_FSETID, true},              // keeps setgid bits of directories that root manages
    {"kill", CAP_KILL, true},                  // root ends jobs of vcap; wshd ends all
    {"setgid", CAP_SETGID, true},              // wshd becomes the job's user; su
    {"setuid", CAP_SETUID, true},              //
    {"setpcap", CAP_SETPCAP, true},            // wshd empties the bounding set of unprivileged jobs
    {"net_bind_service", CAP_NET_BIND_SERVICE, true},  // ports below 1024 of its own network
    {"sys_chroot", CAP_SYS_CHROOT, true},              // daemons that confine themselves
    // Raw IP sockets of its own network, out of which the firewall lets no foreign address;
    // sockets below IP (AF_PACKET) are refused to all by a filter.
    {"net_raw", CAP_NET_RAW, false},
    // File capabilities in archives: they name the container's root, and no_new_privs makes them
    // void.
    {"setfcap", CAP_SETFCAP, false},
    {"ipc_owner", CAP_IPC_OWNER, false},  // System V objects of its own ipc namespace
};

constexpr const char* GRANTABLE_CALLS[] = {
    "fanotify_init",
    "fanotify_mark",  // without privilege, what inotify does (fanotify(7))
    "kcmp",           // compares what the caller could trace
    "memfd_secret",   // counted by RLIMIT_MEMLOCK
    "migrate_pages",
    "move_pages",               // between memory nodes, of what the caller could trace
    "modify_ldt",               // segments of the caller: Wine, old run times
    "set_mempolicy_home_node",  // of the caller's own memory
    "sysfs",                    // names of file system types, as /proc/filesystems has them
};

// What wshd calls, the C library on its way through exec, and whoever of it becomes a job.
// tests/integration/profile-test.c++ holds it against the kernel.
constexpr const char* NEEDED_CALLS[] = {"accept4",
                                        "arch_prctl",
                                        "brk",
                                        "capget",
                                        "capset",
                                        "chdir",
                                        "clock_gettime",
                                        "clone",
                                        "close",
                                        "close_range",
                                        "dup2",
                                        "dup3",
                                        "execve",
                                        "execveat",
                                        "exit",
                                        "exit_group",
                                        "fchown",
                                        "fcntl",
                                        "fstat",
                                        "futex",
                                        "getcwd",
                                        "getgroups",
                                        "getpid",
                                        "getresgid",
                                        "getresuid",
                                        "getrlimit",
                                        "getsockopt",
                                        "kill",
                                        "mmap",
                                        "mprotect",
                                        "mremap",
                                        "munmap",
                                        "newfstatat",
                                        "openat",
                                        "pipe2",
                                        "poll",
                                        "prctl",
                                        "prlimit64",
                                        "read",
                                        "recvmsg",
                                        "rt_sigaction",
                                        "rt_sigprocmask",
                                        "rt_sigreturn",
                                        "sendmsg",
                                        "set_robust_list",
                                        "set_tid_address",
                                        "setfsuid",
                                        "setgroups",
                                        "setresgid",
                                        "setresuid",
                                        "setrlimit",
                                        "setsid",
                                        "signalfd4",
                                        "wait4",
                                        "waitid",
                                        "write"};

template <typename Table>
bool contains(const Table& table, const std::string& name) {
  return std::find(std::begin(table), std::end(table), name) != std::end(table);
}

void addTo(std::string& list, const char* name) {
  list += std::string(list.empty() ? "" : ", ") + name;
}

}  // namespace

uint64_t defaultCapabilities() {
  uint64_t set = 0;
  for (auto& capability : CAPABILITIES) {
    if (capability.byDefault) set |= uint64_t(1) << capability.number;
  }
  return set;
}

const CapabilityName* findCapability(const std::string& name) {
  for (auto& capability : CAPABILITIES) {
    if (name == capability.name) return &capability;
  }
  return nullptr;
}

std::string grantableCapabilities() {
  std::string list;
  for (auto& capability : CAPABILITIES)
    addTo(list, capability.name);
  return list;
}

bool isGrantableCall(const std::string& name) {
  return contains(GRANTABLE_CALLS, name);
}

std::string grantableCalls() {
  std::string list;
  for (const char* call : GRANTABLE_CALLS)
    addTo(list, call);
  return list;
}

bool isNeededCall(const std::string& name) {
  return contains(NEEDED_CALLS, name);
}

}  // namespace warden
