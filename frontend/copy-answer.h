#pragma once
// Carries a copy out and answers its request.

#include <kj/timer.h>

#include "frontend/container.h"
#include "frontend/session.h"

namespace warden::frontend {

kj::Promise<void> answerCopy(kj::Timer& timer, kj::Own<Container> container, Fd client,
                             CopyRequest request, bool withProgress, ResponseWriter& out);
// One response when the copy has ended; with progress, others before it, none of them while the one
// before has not been taken by the kernel. What they say is the container's word, and goes nowhere
// else.

}  // namespace warden::frontend
