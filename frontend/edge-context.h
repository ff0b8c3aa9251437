#pragma once
// What a connection uses of its server.

#include <kj/async-unix.h>
#include <spdlog/logger.h>

#include "frontend/request-counts.h"

namespace warden::frontend {

class EdgeContext {
 public:
  virtual kj::UnixEventPort& eventPort() = 0;

  virtual spdlog::logger& log() = 0;

  virtual kj::ArrayPtr<kj::byte> readBuffer() = 0;
  // One for all connections, so that idle ones hold none; its content is valid until the caller
  // returns to the event loop.

  virtual bool holdInput(size_t before, size_t now) = 0;
  // Counts what all connections hold of unfinished requests; one of them holds `now` bytes instead
  // of `before`. False: the server has no room for so much.
  virtual bool holdOutput(size_t before, size_t now) = 0;
  // The same of responses that have not been read.

  static constexpr size_t SMALL_BYTES = 16 * 1024;
  // What a connection may hold either way however much the others do, so that ordinary requests are
  // served whatever these do.

  virtual void requestBegins() = 0;
  virtual void requestEnds(Message::Type type, RequestOutcome outcome) = 0;
  // For the metrics. The second for each of the first.

  virtual void frameIsMalformed(int socket, kj::StringPtr reason) = 0;
  // For the log, which is told once a second at most.

  virtual uint64_t nextErrorNumber() = 0;

  virtual bool isDraining() const = 0;

  virtual kj::Promise<void> whenDrainTimesOut() = 0;
  // Resolves some time after draining has begun: who has not read its response by then is cut off.

  virtual kj::Promise<void> yield() = 0;
  // Resolves after the event loop has looked for input and output of others.
};

}  // namespace warden::frontend
