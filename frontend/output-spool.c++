#include "frontend/output-spool.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"

namespace warden::frontend {

OutputSpool::OutputSpool(kj::Own<StateDirectory> directory, uint32_t jobId, uint64_t limit)
    : directory(kj::mv(directory)), jobId(jobId), room(limit) {}

OutputSpool::~OutputSpool() {
  if (!unwanted) return;
  for (auto stream : OUTPUT_STREAMS) {
    // Where the container is destroyed meanwhile, the directory went with it.
    if (file(stream).fd != nullptr) unlinkat(directory->fd(), fileName(stream).cStr(), 0);
  }
}

kj::String OutputSpool::fileName(OutputStream stream) const {
  return kj::str("job-", jobId, stream == OutputStream::STDOUT ? ".stdout" : ".stderr");
}

void OutputSpool::reopen() {
  for (auto stream : OUTPUT_STREAMS) {
    struct stat status;
    auto name = fileName(stream);
    if (fstatat(directory->fd(), name.cStr(), &status, AT_SYMLINK_NOFOLLOW) < 0) {
      if (errno == ENOENT) continue;
      KJ_FAIL_SYSCALL("stat", errno, name);
    }
    auto& f = file(stream);
    f.fd = openBeneath(directory->fd(), name, O_RDWR | O_NOFOLLOW);
    f.size = status.st_size;
    room -= kj::min(room, f.size);
  }
}

OutputSpool::File& OutputSpool::openFile(OutputStream stream) {
  auto& f = file(stream);
  if (f.fd == nullptr) {
    f.fd = openBeneath(directory->fd(), fileName(stream), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
                       0600);
  }
  return f;
}

OutputSpool::Progress OutputSpool::moveFromPipe(int pipe, OutputStream stream, size_t maximum) {
  if (room == 0 || file(stream).fd == nullptr) {
    // No file is made for a job that writes nothing, so see first whether it does.
    pollfd state{pipe, POLLIN, 0};
    KJ_SYSCALL(poll(&state, 1, 0));
    if ((state.revents & POLLIN) == 0) {
      return {(state.revents & (POLLHUP | POLLERR)) != 0 ? Moved::END : Moved::NOTHING};
    }
    if (room == 0) return {Moved::OVER_LIMIT};
  }
  auto& f = openFile(stream);
  loff_t offset = f.size;
  ssize_t n;
  do {
    n = splice(pipe, nullptr, f.fd, &offset, kj::min(uint64_t{maximum}, room),
               SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    int error = errno;
    if (error == EAGAIN) return {Moved::NOTHING};
    KJ_FAIL_SYSCALL("splice", error);
  }
  if (n == 0) return {Moved::END};
  f.size += n;
  room -= n;
  return {Moved::SOME, static_cast<size_t>(n)};
}

FileRange OutputSpool::range(OutputStream stream, uint64_t offset, uint64_t maximum) const {
  auto& f = file(stream);
  KJ_REQUIRE(offset <= f.size);
  return {f.fd, offset, kj::min(maximum, f.size - offset)};
}

}  // namespace warden::frontend
