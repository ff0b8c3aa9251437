#pragma once
// What the first process of a container does between its birth in new namespaces and the exec of
// wshd.

#include <kj/array.h>
#include <kj/string.h>
#include <linux/filter.h>

#include "base/fd.h"

namespace warden::privhelper {

struct InitContext {
  Fd setup;                                // to the broker; its end by exec reports success
  int wshdProgram;                         // sealed memfd of wshd
  kj::ArrayPtr<const sock_filter> filter;  // of everything that runs in the container
};

[[noreturn]] void runContainerInit(InitContext context);
// Never returns: execs wshd, or reports the step that failed and ends.

kj::Array<kj::StringPtr> containerInitSteps();
// Names, in order.

}  // namespace warden::privhelper
