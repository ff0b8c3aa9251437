#include "frontend/job-output.h"

#include <errno.h>
#include <fcntl.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace warden::frontend {

namespace {

using Moved = OutputSpool::Moved;

// What one stream may move before the rest of the event loop has its turn.
constexpr size_t BYTES_PER_MOVE = 256 * 1024;
constexpr int MOVES_PER_TURN = 4;

// A job that ends within this time, as most do, has its output taken at its end, which saves waking
// up for each of its pipes when they close. Others see their output taken that much later, once.
constexpr auto UNWATCHED_TIME = 1 * kj::MILLISECONDS;

// pipe(7): the capacity a pipe has at first.
constexpr size_t DEFAULT_PIPE_BYTES = 64 * 1024;
constexpr int PIPE_BYTES[] = {1024 * 1024, 512 * 1024, 256 * 1024, 128 * 1024};

// A user may have only so many large pipes (pipe(7), pipe-user-pages-soft), so smaller ones are
// tried.
void enlarge(int pipe) {
  for (int size : PIPE_BYTES) {
    if (fcntl(pipe, F_SETPIPE_SZ, size) >= 0) return;
  }
}

// Of a file, which is as long as the spool says or, where something else has cut it, shorter.
kj::Array<char> readFrom(const OutputSpool& spool, OutputStream stream, uint64_t from,
                         uint64_t bytes) {
  auto range = spool.range(stream, from, bytes);
  auto buffer = kj::heapArray<char>(range.size);
  ssize_t n = 0;
  if (range.size > 0) {
    KJ_SYSCALL(n = pread(range.fd, buffer.begin(), range.size, range.offset));
  }
  return n == static_cast<ssize_t>(range.size) ? kj::mv(buffer) : kj::heapArray(buffer.slice(0, n));
}

size_t bytesIn(int pipe) {
  int available = 0;
  KJ_SYSCALL(ioctl(pipe, FIONREAD, &available));
  return available;
}

}  // namespace

JobOutput::JobOutput(const Services& services, OutputSpool& spool, OutputOptions options,
                     Owner& owner)
    : services(services),
      spool(spool),
      discard(options.discard),
      owner(owner),
      pumps{{OutputStream::STDOUT}, {OutputStream::STDERR}} {
  if (options.logTag) {
    auto tag = kj::arrayPtr(options.logTag->data(), options.logTag->size());
    pumps[0].lines.emplace(services.syslog, SyslogSocket::INFO, tag);
    pumps[1].lines.emplace(services.syslog, SyslogSocket::ERROR, tag);
  }
}

void JobOutput::take(StartedJob pipes) {
  pumps[0].pipe = kj::mv(pipes.standardOutput);
  pumps[1].pipe = kj::mv(pipes.standardError);
}

void JobOutput::start() {
  for (auto& pump : pumps)
    startPump(pump);
}

void JobOutput::startPump(Pump& pump) {
  pump.task = services.timer.afterDelay(UNWATCHED_TIME)
                  .then([this, &pump]() { return watch(pump); })
                  .eagerlyEvaluate([this, &pump](kj::Exception&& reason) {
                    pump.done = true;
                    owner.outputFailed(kj::mv(reason));
                  });
}

kj::Promise<void> JobOutput::watch(Pump& pump) {
  pump.observer = kj::heap<kj::UnixEventPort::FdObserver>(
      services.port, pump.pipe, kj::UnixEventPort::FdObserver::OBSERVE_READ);
  return run(pump);
}

kj::Promise<void> JobOutput::run(Pump& pump) {
  bool grew = false;
  KJ_DEFER(if (grew && !discard) owner.outputGrew());
  for (int i = 0; i < MOVES_PER_TURN; ++i) {
    switch (move(pump, BYTES_PER_MOVE).what) {
      case Moved::SOME:
        grew = true;
        break;
      case Moved::NOTHING:
        return pump.observer->whenBecomesReadable().then([this, &pump]() { return run(pump); });
      case Moved::OVER_LIMIT:
        pump.done = true;
        owner.outputOverLimit();
        return kj::READY_NOW;
      case Moved::END:
        pump.done = true;
        close(pump);
        return kj::READY_NOW;
    }
  }
  return services.timer.afterDelay(0 * kj::SECONDS).then([this, &pump]() { return run(pump); });
}

OutputSpool::Progress JobOutput::move(Pump& pump, size_t maximum) {
  if (discard) {
    return pump.lines != nullptr ? moveToSyslog(pump, maximum) : moveToNowhere(pump, maximum);
  }
  uint64_t before = spool.size(pump.stream);
  auto moved = spool.moveFromPipe(pump.pipe, pump.stream, maximum);
  // From the file, so that what has left the pipe is kept whenever this process ends.
  if (moved.what == Moved::SOME && pump.lines != nullptr) tellSyslog(pump, before);
  if (!pump.enlarged && moved.bytes >= DEFAULT_PIPE_BYTES / 2) {
    // The job writes faster than it is read: let each turn move more.
    enlarge(pump.pipe);
    pump.enlarged = true;
  }
  return moved;
}

void JobOutput::tellSyslog(Pump& pump, uint64_t from) {
  for (;;) {
    auto bytes = readFrom(spool, pump.stream, from, DEFAULT_PIPE_BYTES);
    if (bytes.size() == 0) return;
    KJ_ASSERT_NONNULL(pump.lines).add(bytes);
    from += bytes.size();
  }
}

void JobOutput::resume() {
  for (auto& pump : pumps) {
    KJ_IF_MAYBE (lines, pump.lines) {
      lines->resume(unsentPiece(pump.stream));
    }
  }
}

kj::Array<char> JobOutput::unsentPiece(OutputStream stream) const {
  uint64_t size = spool.size(stream);
  uint64_t bytes = (size - startOfLastLine(stream)) % SyslogLines::MAX_LINE_BYTES;
  return readFrom(spool, stream, size - bytes, bytes);
}

uint64_t JobOutput::startOfLastLine(OutputStream stream) const {
  for (uint64_t end = spool.size(stream); end > 0;) {
    uint64_t start = end - kj::min(end, DEFAULT_PIPE_BYTES);
    auto bytes = readFrom(spool, stream, start, end - start);
    auto* newline = static_cast<char*>(memrchr(bytes.begin(), '\n', bytes.size()));
    if (newline != nullptr) return start + (newline - bytes.begin()) + 1;
    end = start;
  }
  return 0;
}

void JobOutput::prepareForSuccessor() {
  // What is in the spool, the successor finds there.
  for (auto& pump : pumps) {
    KJ_IF_MAYBE (lines, pump.lines) {
      if (discard) lines->finish();
    }
  }
}

OutputSpool::Progress JobOutput::moveToSyslog(Pump& pump, size_t maximum) {
  // Not read(2), which would wait where wshd, which has the pipe too, takes O_NONBLOCK away.
  auto moved = moveTo(services.scratch.writeEnd, pump, kj::min(maximum, DEFAULT_PIPE_BYTES));
  if (moved.what != Moved::SOME) return moved;
  char buffer[DEFAULT_PIPE_BYTES];
  ssize_t n;
  KJ_SYSCALL(n = read(services.scratch.readEnd, buffer, moved.bytes));
  KJ_ASSERT(static_cast<size_t>(n) == moved.bytes);
  KJ_ASSERT_NONNULL(pump.lines).add(kj::arrayPtr(buffer, n));
  return moved;
}

OutputSpool::Progress JobOutput::moveToNowhere(Pump& pump, size_t maximum) {
  return moveTo(services.nullDevice, pump, maximum);
}

OutputSpool::Progress JobOutput::moveTo(int target, Pump& pump, size_t maximum) {
  ssize_t n;
  KJ_NONBLOCKING_SYSCALL(
      n = splice(pump.pipe, nullptr, target, nullptr, maximum, SPLICE_F_NONBLOCK | SPLICE_F_MOVE));
  if (n < 0) return {Moved::NOTHING};
  if (n == 0) return {Moved::END};
  return {Moved::SOME, static_cast<size_t>(n)};
}

void JobOutput::finish() {
  for (auto& pump : pumps) {
    pump.task = nullptr;
    if (pump.pipe == nullptr) continue;
    KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() { drain(pump); })) {
      owner.outputFailed(kj::mv(*reason));
    }
    close(pump);
  }
}

void JobOutput::close(Pump& pump) {
  KJ_IF_MAYBE (lines, pump.lines) {
    lines->finish();
  }
  pump.observer = nullptr;
  pump.pipe = nullptr;
}

void JobOutput::drain(Pump& pump) {
  // Processes that outlive the shell may go on writing; what counts is what is there now.
  size_t rest = pump.done ? 0 : bytesIn(pump.pipe);
  while (rest > 0) {
    auto moved = move(pump, rest);
    if (moved.what == Moved::OVER_LIMIT) owner.outputOverLimit();
    if (moved.what != Moved::SOME) break;
    rest -= moved.bytes;
  }
}

}  // namespace warden::frontend
