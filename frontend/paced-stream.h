#pragma once
// A connection of the health server: it is read no faster than a pace allows, so that whoever
// writes as fast as possible, a byte at a time or thousands of requests at once, takes no more of
// the event loop than others.

#include <kj/async-io.h>
#include <kj/async-unix.h>

#include "base/fd.h"
#include "frontend/pace.h"

namespace warden::frontend {

class PacedStream final : public kj::AsyncIoStream {
 public:
  PacedStream(kj::UnixEventPort& port, Fd socket, Pace& pace);
  // `socket`: connected and non-blocking. The others are borrowed.
  ~PacedStream() noexcept(false);

  kj::Promise<size_t> tryRead(void* buffer, size_t minBytes, size_t maxBytes) override;
  kj::Promise<void> write(const void* buffer, size_t size) override;
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override;
  kj::Promise<void> whenWriteDisconnected() override { return observer.whenWriteDisconnected(); }

  void endInput() { inputEnded = true; }
  // What arrives from here on is not read: the end of the stream instead.

  void shutdownWrite() override {}
  // The sandbox has no shutdown(2). The connection ends when it is closed.

 private:
  Fd socket;
  kj::UnixEventPort::FdObserver observer;
  Pace& pace;
  bool inputEnded = false;

  kj::Promise<size_t> readMore(kj::byte* buffer, size_t had, size_t minBytes, size_t maxBytes);
};

}  // namespace warden::frontend
