#pragma once
// What a job has written, in files, so that output costs the frontend no memory however slowly a
// client reads.

#include <kj/refcount.h>
#include <kj/string.h>

#include "base/fd.h"
#include "frontend/session.h"

namespace warden::frontend {

enum class OutputStream : uint8_t { STDOUT, STDERR };
constexpr OutputStream OUTPUT_STREAMS[] = {OutputStream::STDOUT, OutputStream::STDERR};

class StateDirectory final : public kj::Refcounted {
  // <depot>/<id>/state, shared by a container and its jobs.

 public:
  explicit StateDirectory(Fd fd) : descriptor(kj::mv(fd)) {}
  int fd() const { return descriptor; }

 private:
  Fd descriptor;
};

class OutputSpool {
  // Both streams of one job: files job-<id>.stdout and job-<id>.stderr in the state directory, made
  // when there is first something to keep. They stay when the object goes, for the next frontend,
  // but for those of a job that is done with. Failures of the file system (no space) are thrown.

 public:
  OutputSpool(kj::Own<StateDirectory> directory, uint32_t jobId, uint64_t limit);
  // `limit`: bytes, both streams together.
  ~OutputSpool();
  KJ_DISALLOW_COPY(OutputSpool);

  void reopen();
  // Goes on where an earlier frontend was.

  void doneWith() { unwanted = true; }
  // The destructor removes the files.

  enum class Moved {
    SOME,        // and there may be more
    NOTHING,     // the pipe is empty
    END,         // nobody holds the pipe's write end
    OVER_LIMIT,  // the spool is full and the pipe is not empty
  };

  struct Progress {
    Moved what;
    size_t bytes = 0;  // for SOME
  };

  Progress moveFromPipe(int pipe, OutputStream stream, size_t maximum);
  // Moves up to `maximum` bytes, without blocking and without a copy through this process
  // (splice(2)).

  size_t fileCount() const { return (files[0].fd.get() >= 0) + (files[1].fd.get() >= 0); }
  uint64_t size(OutputStream stream) const { return file(stream).size; }
  FileRange range(OutputStream stream, uint64_t offset, uint64_t maximum) const;
  // What there is from `offset` on, at most `maximum` bytes. The descriptor is borrowed.

 private:
  struct File {
    Fd fd;
    uint64_t size = 0;
  };

  kj::Own<StateDirectory> directory;
  uint32_t jobId;
  uint64_t room;
  bool unwanted = false;
  File files[2];

  File& file(OutputStream stream) { return files[static_cast<int>(stream)]; }
  const File& file(OutputStream stream) const { return files[static_cast<int>(stream)]; }
  kj::String fileName(OutputStream stream) const;
  File& openFile(OutputStream stream);
};

}  // namespace warden::frontend
