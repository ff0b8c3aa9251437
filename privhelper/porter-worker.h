#pragma once
// What carries out one order of the porter, as the user that it is for.

#include <sys/types.h>

#include "base/fd.h"
#include "schema/porter.capnp.h"

namespace warden::privhelper {

struct WorkerDescriptors {
  Fd answers;  // to the porter
  Fd stream;   // of a copy
  int null;    // /dev/null, for reading and writing
};

[[noreturn]] void runPorterWorker(schema::PorterOrder::Reader order, WorkerDescriptors fds,
                                  pid_t porter);
// In a child of the porter. Answers once, and ends.

}  // namespace warden::privhelper
