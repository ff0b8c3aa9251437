#pragma once
// Turning the freshly executed program into a safe process 1.

#include <sys/resource.h>

#include "base/fd.h"

namespace warden {

constexpr int CONNECTION_FD = 3;
// A connected SOCK_SEQPACKET socket: the frontend (schema/wshd.capnp).
constexpr int LISTENER_FD = 4;
// A listening SOCK_SEQPACKET socket: where a frontend that comes back connects.

constexpr int FATAL_EXCEPTION = 124;
// Exit status; init.c++ has the others.

struct InitState {
  // What jobs must know of the state in which wshd was started.

  uint64_t boundingSet;  // bit n: capability n of capabilities(7)
  bool privilegedJobs = true;
  // False: every job is refused that is root, or of root's group, or has capabilities.
  uint64_t jobCapabilities = ~uint64_t(0);
  // What privileged jobs keep of the bounding set; bits likewise.
  rlimit openFiles;  // RLIMIT_NOFILE, which wshd raises for itself
  rlimit inherited[RLIM_NLIMITS];
  // By RLIMIT_*: what a child of wshd starts with. A root of the container can lower these later
  // (prlimit(2) on process 1), and nobody in it can raise a hard limit.
};

void hideFromContainer();
// Makes the process undumpable (prctl(2), PR_SET_DUMPABLE): no process of the container, not even
// its root, may trace it, read its memory or follow its /proc/PID/fd. Must come before anything
// else.

InitState becomeInit();
// Leaves only stdin, stdout, stderr and the two sockets open; default signal dispositions, SIGCHLD
// blocked, everything else unblocked; umask 022; of the capabilities those that starting and
// signalling jobs takes, while the bounding set stays for privileged jobs to inherit. Ends the
// process when a descriptor is not what the contract says: nothing serves the container then, and
// its starter sees the exit status.

void readArguments(int argc, char** argv, InitState& state);
// --no-privileged-jobs, or --job-capabilities=HEX. Ends the process for any other.

Fd watchChildren();
// A signalfd(2) for SIGCHLD, non-blocking.

}  // namespace warden
