#include "frontend/paced-stream.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/socket.h>

namespace warden::frontend {

namespace {

[[noreturn]] void disconnected() {
  kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "the client has gone"));
}

}  // namespace

PacedStream::PacedStream(kj::UnixEventPort& port, Fd socketParam, Pace& pace)
    : socket(kj::mv(socketParam)),
      observer(port, socket, kj::UnixEventPort::FdObserver::OBSERVE_READ_WRITE),
      pace(pace) {}

PacedStream::~PacedStream() noexcept(false) {
  discardInput(socket);
}

kj::Promise<size_t> PacedStream::tryRead(void* buffer, size_t minBytes, size_t maxBytes) {
  return readMore(static_cast<kj::byte*>(buffer), 0, minBytes, maxBytes);
}

kj::Promise<size_t> PacedStream::readMore(kj::byte* buffer, size_t had, size_t minBytes,
                                          size_t maxBytes) {
  if (inputEnded) return had;
  return pace.turn().then([=, this]() -> kj::Promise<size_t> {
    ssize_t n = recv(socket, buffer + had, maxBytes - had, 0);
    if (n == 0) return had;
    if (n > 0) {
      size_t has = had + n;
      if (has >= minBytes) return has;
      return readMore(buffer, has, minBytes, maxBytes);
    }
    int error = errno;
    if (error == EINTR) return readMore(buffer, had, minBytes, maxBytes);
    if (error != EAGAIN && error != EWOULDBLOCK) disconnected();
    return observer.whenBecomesReadable().then(
        [=, this]() { return readMore(buffer, had, minBytes, maxBytes); });
  });
}

kj::Promise<void> PacedStream::write(const void* buffer, size_t size) {
  auto bytes = static_cast<const kj::byte*>(buffer);
  while (size > 0) {
    ssize_t n = send(socket, bytes, size, MSG_NOSIGNAL);
    if (n >= 0) {
      bytes += n;
      size -= n;
      continue;
    }
    int error = errno;
    if (error == EINTR) continue;
    if (error != EAGAIN && error != EWOULDBLOCK) disconnected();
    return observer.whenBecomesWritable().then([=, this]() { return write(bytes, size); });
  }
  return kj::READY_NOW;
}

kj::Promise<void> PacedStream::write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) {
  if (pieces.size() == 0) return kj::READY_NOW;
  return write(pieces[0].begin(), pieces[0].size()).then([this, pieces]() {
    return write(pieces.slice(1, pieces.size()));
  });
}

}  // namespace warden::frontend
