#pragma once
// What the frontend locks itself into before it serves the first client. It starts without
// privilege already; this verifies it and takes away the rest: paths, sockets, programs, system
// calls.

#include <kj/common.h>

namespace warden::frontend {

struct SandboxDirectories {
  // Descriptors (O_PATH suffices) of the only directories beneath which paths can be opened
  // afterwards; -1: none.
  int depot = -1;  // regular files can be created, read, written, truncated and removed
  int image = -1;  // files and directories can be read
};

struct SandboxReport {
  int landlockVersion;  // 0: the kernel has no Landlock, paths are restricted by file modes alone
};

SandboxReport enterSandbox(const SandboxDirectories& directories);
// For good, for the calling process, which must be single threaded. Fails unless all user and group
// ids are other than 0 and no capability is held. Afterwards:
//   - no_new_privs is set, the process is not dumpable (no other process of this user can trace
//   it);
//   - Landlock denies every path but the above, TCP, and abstract sockets and signals of others;
//   - a system call that is not on the list of sandbox.c++ fails with EPERM and is logged by the
//     kernel's audit: no program is started, no process created, no memory made executable, and no
//     socket made but datagram unix sockets (syslog).

}  // namespace warden::frontend
