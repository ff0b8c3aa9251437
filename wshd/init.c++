#include "wshd/init.h"

#include <errno.h>
#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace warden {

namespace {

// Exit statuses by which the starter tells which part of the contract was not met.
constexpr int NO_CONNECTION = 120;
constexpr int NO_LISTENER = 121;
constexpr int NO_CAPABILITY = 122;
constexpr int NO_SIGNALS = 123;
constexpr int BAD_ARGUMENT = 125;

constexpr int LAST_SIGNAL = 64;
constexpr int LAST_CAPABILITY = 63;

bool isPacketSocket(int fd, bool listening) {
  int type, accepts;
  socklen_t length = sizeof(int);
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return false;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &length) < 0) return false;
  return type == SOCK_SEQPACKET && (accepts != 0) == listening;
}

void resetSignals() {
  // A disposition of "ignored" survives exec, and jobs would inherit it.
  for (int signal = 1; signal <= LAST_SIGNAL; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) ::signal(signal, SIG_DFL);
  }
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGCHLD);
  if (sigprocmask(SIG_SETMASK, &blocked, nullptr) < 0) _exit(NO_SIGNALS);
}

uint64_t readBoundingSet() {
  uint64_t set = 0;
  for (int cap = 0; cap <= LAST_CAPABILITY; ++cap) {
    int present = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
    if (present < 0) break;  // EINVAL: past the last one that this kernel knows
    if (present == 1) set |= uint64_t{1} << cap;
  }
  return set;
}

void limitOwnCapabilities() {
  constexpr uint32_t NEEDED =
      1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_SETPCAP | 1u << CAP_KILL | 1u << CAP_CHOWN;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) < 0) _exit(NO_CAPABILITY);
  // What privileged jobs have stays permitted: under no_new_privs, exec gives no capability that
  // the process before it did not have (capabilities(7)).
  data[0].effective = data[0].permitted & NEEDED;
  data[0].inheritable = 0;
  data[1] = {};
  if (syscall(SYS_capset, &header, data) < 0) _exit(NO_CAPABILITY);
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0) _exit(NO_CAPABILITY);
}

rlimit raiseOpenFiles() {
  rlimit before;
  if (getrlimit(RLIMIT_NOFILE, &before) < 0) before = {1024, 1024};
  rlimit raised{before.rlim_max, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &raised);
  return before;
}

void readInheritedLimits(InitState& state) {
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    rlimit& limit = state.inherited[resource];
    auto which = static_cast<__rlimit_resource_t>(resource);
    // Unknown: equal to no limit that is asked for, so that every job sets it.
    if (getrlimit(which, &limit) < 0) limit = {0, RLIM_INFINITY};
  }
}

void keepHeapSmall() {
  // Give memory back once a large request is done with, and never move the bounds up by use
  // (mallopt(3): setting one ends the dynamic adjustment).
  mallopt(M_MMAP_THRESHOLD, 64 * 1024);
  mallopt(M_TRIM_THRESHOLD, 32 * 1024);
  mallopt(M_TOP_PAD, 4096);
}

}  // namespace

void hideFromContainer() {
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

InitState becomeInit() {
  if (!isPacketSocket(CONNECTION_FD, false)) _exit(NO_CONNECTION);
  if (!isPacketSocket(LISTENER_FD, true)) _exit(NO_LISTENER);
  syscall(SYS_close_range, LISTENER_FD + 1, ~0u, 0);
  umask(022);
  resetSignals();
  keepHeapSmall();
  InitState state;
  state.boundingSet = readBoundingSet();
  state.openFiles = raiseOpenFiles();
  readInheritedLimits(state);
  limitOwnCapabilities();
  return state;
}

void readArguments(int argc, char** argv, InitState& state) {
  constexpr kj::StringPtr CAPABILITIES = "--job-capabilities="_kj;
  for (int i = 1; i < argc; ++i) {
    kj::StringPtr argument = argv[i];
    if (argument == "--no-privileged-jobs") {
      state.privilegedJobs = false;
      state.jobCapabilities = 0;
    } else if (argument.startsWith(CAPABILITIES) && argument.size() > CAPABILITIES.size()) {
      char* end;
      state.jobCapabilities = strtoull(argument.begin() + CAPABILITIES.size(), &end, 16);
      if (*end != 0) _exit(BAD_ARGUMENT);
    } else {
      _exit(BAD_ARGUMENT);
    }
  }
}

Fd watchChildren() {
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  int fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) _exit(NO_SIGNALS);
  return Fd(fd);
}

}  // namespace warden
