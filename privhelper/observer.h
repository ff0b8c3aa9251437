#pragma once
// The observer: the only process of the helper that may look at processes of all users
// (CAP_SYS_PTRACE), and all that it can do with that is to read where a link of /proc leads: its
// filter has no open. It tells what program a client runs, for the audit trail.

#include <sys/types.h>

#include <string>

#include "base/fd.h"

namespace warden::privhelper {

[[noreturn]] void runObserver(Fd requests);
// In a process of its own that has entered the observer's root. Ends when the connection does.

class Observer {
  // The broker's side.

 public:
  explicit Observer(Fd connection) : connection(kj::mv(connection)) {}

  int fd() const { return connection; }
  // Readable outside of a request: the observer has ended. -1: it ended during a request, or did
  // not answer in time.

  std::string executableOf(pid_t pid);
  // Of the process that has the number now (proc(5), /proc/pid/exe), as its own mount namespace
  // names it. Empty: there is none, or it has no program.

 private:
  Fd connection;
};

}  // namespace warden::privhelper
