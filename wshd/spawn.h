#pragma once
// Starting one job: from a checked plan to a running shell.

#include <kj/one-of.h>

#include "base/fd.h"
#include "wshd/child-stack.h"
#include "wshd/init.h"
#include "wshd/request.h"

namespace warden {

struct Shell {
  pid_t pid;
  Fd output;  // read ends of stdout's and stderr's pipes
  Fd errors;
  kj::Maybe<int> status;
  // As waitpid(2) gives it, where the shell has ended already; it is still to be reaped.
};

struct JobPipes {
  // Made between jobs, so that a client does not wait for it; four descriptors, or none.

  Fd output, outputEnd;
  Fd errors, errorsEnd;

  bool make();
  // Does nothing when they are there. False, with errno: they cannot be made now.
};

kj::OneOf<Shell, Failure> startShell(const SpawnPlan& plan, int script, const InitState& init,
                                     ChildStack& stack, JobPipes pipes);
// Returns once the shell is executed, or has failed to be. A child that reaches neither within five
// seconds (stopped by another process of its user, or stuck in a file system of the container) is
// killed, and the failure is ETIMEDOUT. A child that failed is reaped like any orphan. `pipes` may
// be empty.

kj::Maybe<int> endOf(pid_t pid);
// The status, as waitpid(2) gives it, of a child that has ended and is not reaped yet; it stays to
// be reaped. None: it runs.

}  // namespace warden
