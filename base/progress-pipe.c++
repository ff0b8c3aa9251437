#include "base/progress-pipe.h"

#include <fcntl.h>
#include <kj/debug.h>
#include <sys/stat.h>
#include <unistd.h>

namespace warden {

namespace {

// What the smallest pipe holds on most machines.
constexpr size_t READ_BYTES = 4096;
static_assert(READ_BYTES % sizeof(Progress) == 0);

}  // namespace

Pipe makeProgressPipe() {
  auto pipe = makePipe();
  setNonblocking(pipe.readEnd);
  setNonblocking(pipe.writeEnd);
  // Rounded up to a page.
  KJ_SYSCALL(fcntl(pipe.writeEnd, F_SETPIPE_SZ, 1));
  return pipe;
}

bool isProgressPipe(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0 || !S_ISFIFO(status.st_mode)) return false;
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_NONBLOCK) != 0 && (flags & O_ACCMODE) == O_WRONLY;
}

void tellProgress(int pipe, const Progress& progress) {
  // Less than PIPE_BUF: all of it or nothing (pipe(7)).
  [[maybe_unused]] ssize_t n = write(pipe, &progress, sizeof(progress));
}

kj::Maybe<Progress> latestProgress(int pipe) {
  Progress records[READ_BYTES / sizeof(Progress)];
  ssize_t n = read(pipe, records, sizeof(records));
  if (n < static_cast<ssize_t>(sizeof(Progress))) return nullptr;
  return records[n / sizeof(Progress) - 1];
}

}  // namespace warden
