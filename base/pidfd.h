#pragma once
// Processes held by descriptor (pidfd_open(2)), so that a recycled number is never signalled.

#include <sys/types.h>

#include "base/fd.h"

namespace warden {

class Pidfd {
 public:
  Pidfd() = default;
  Pidfd(pid_t pid, Fd fd) : processId(pid), descriptor(kj::mv(fd)) {}

  static Pidfd open(pid_t pid);
  // Only safe for a process that cannot be reaped meanwhile: a child of the caller.

  pid_t pid() const { return processId; }
  int fd() const { return descriptor.get(); }

  bool signal(int signal) const;
  // pidfd_send_signal(2). False: the process has ended.

  bool waitExit(int timeoutMs) const;
  // Waits until the process has ended, without reaping it. False: it had not after `timeoutMs`
  // (-1: wait for ever).

 private:
  pid_t processId = -1;
  Fd descriptor;
};

}  // namespace warden
