#pragma once
// Starting one job: from a checked plan to a running shell.

#include <kj/one-of.h>

#include "base/fd.h"
#include "wshd/init.h"
#include "wshd/request.h"

namespace warden {

struct Shell {
  pid_t pid;
  Fd output;  // read ends of stdout's and stderr's pipes
  Fd errors;
};

kj::OneOf<Shell, Failure> startShell(const SpawnPlan& plan, Fd script, const InitState& init);
// Returns once the shell is executed, or has failed to be. A child that reaches neither within five
// seconds (stopped by another process of its user, or stuck in a file system of the container) is
// killed, and the failure is ETIMEDOUT. A child that failed is reaped like any orphan.

}  // namespace warden
