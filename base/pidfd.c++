#include "base/pidfd.h"

#include <errno.h>
#include <kj/debug.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace warden {

Pidfd Pidfd::open(pid_t pid) {
  int fd;
  KJ_SYSCALL(fd = syscall(SYS_pidfd_open, pid, 0), pid);
  return Pidfd(pid, Fd(fd));
}

bool Pidfd::signal(int signal) const {
  if (syscall(SYS_pidfd_send_signal, descriptor.get(), signal, nullptr, 0) == 0) return true;
  int error = errno;
  if (error == ESRCH) return false;
  KJ_FAIL_SYSCALL("pidfd_send_signal", error, processId, signal);
}

bool Pidfd::waitExit(int timeoutMs) const {
  pollfd p{descriptor.get(), POLLIN, 0};
  int n;
  KJ_SYSCALL(n = poll(&p, 1, timeoutMs));
  return n == 1;
}

}  // namespace warden
