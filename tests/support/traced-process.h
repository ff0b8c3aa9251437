#pragma once
// A process whose system calls a test follows one by one, by ptrace(2).

#include <stdint.h>
#include <sys/types.h>

#include <kj/common.h>
#include <chrono>
#include <optional>

namespace warden::test {

class TracedProcess {
  // Single threaded, and no child of the test's. Stands at each entry to a system call and at each
  // return from one until goOn(). To be used by one thread only: the kernel knows the tracer as a
  // thread.

 public:
  explicit TracedProcess(pid_t pid);
  // The process runs on to its next call.
  ~TracedProcess() { letGo(); }
  KJ_DISALLOW_COPY(TracedProcess);

  struct Call {
    uint64_t number;  // SYS_...; of a return, that of the entry before it
    bool entered;     // else: returns
  };

  Call awaitCall();
  // Where it stands now, or will. Throws when it has ended.
  std::optional<Call> awaitCall(std::chrono::milliseconds within);
  // None: it makes no call, or is in one that takes longer.

  void goOn();
  // To the next stop.

  void kill();
  // SIGKILL. The call that it stands before is not made. On return it has ended.

  void letGo();
  // It runs on by itself. Nothing when it has ended, or is let go.

 private:
  pid_t pid;
  uint64_t number = 0;

  std::optional<Call> look(int flags);
};

}  // namespace warden::test
