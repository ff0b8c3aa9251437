#pragma once
// How far something is, told by one process to another through a pipe. Neither waits for the other:
// what is not read in time is lost, and whoever reads wants the last record only.

#include "base/fd.h"

namespace warden {

struct Progress {
  // A record of the pipe, in the machine's own byte order.

  uint64_t bytes = 0;
  uint64_t entries = 0;

  bool operator==(const Progress&) const = default;
};

Pipe makeProgressPipe();
// Both ends CLOEXEC and non-blocking; as small as the kernel makes pipes.

bool isProgressPipe(int fd);
// Whether it is a pipe that can be written to without ever waiting.

void tellProgress(int pipe, const Progress& progress);
// Lost where the pipe is full, or nobody reads. SIGPIPE is to be ignored.

kj::Maybe<Progress> latestProgress(int pipe);
// Of what is in the pipe; none: nothing is. Whoever writes is not trusted: one read of bounded
// size, and the numbers may be any.

}  // namespace warden
