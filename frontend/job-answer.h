#pragma once
// How clients receive what a job has produced. The job is released when one of them has all of it;
// dropping a promise before leaves it for the next.

#include "frontend/container.h"
#include "frontend/session.h"

namespace warden::frontend {

kj::Promise<void> answerWhenEnded(kj::Own<Container> container, kj::Own<Job> job,
                                  Message::Type type, ResponseWriter& out);
// Link and Run (`type`).

kj::Promise<void> streamOutput(kj::Own<Container> container, kj::Own<Job> job, ResponseWriter& out);
// Stream: all output from the job's start, then the exit status.

}  // namespace warden::frontend
