#pragma once
// Answers over HTTP, on a port of loopback, whether the server can do its work (/healthz), and with
// figures (/metrics). Whoever may connect to loopback may ask: no answer names anything.

#include <kj/compat/http.h>
#include <kj/list.h>
#include <kj/refcount.h>
#include <spdlog/logger.h>

#include "frontend/paced-stream.h"

namespace warden::frontend {

struct Health : public kj::Refcounted {
  kj::String trouble;  // why the server cannot do its work; empty: it can
  kj::String metrics;  // Prometheus text format, version 0.0.4

  kj::Own<Health> addRef() { return kj::addRef(*this); }
};

class HealthSource {
 public:
  virtual kj::Promise<kj::Own<Health>> look() = 0;
  // Resolves within seconds, whatever does not answer.
};

class HealthServer final : private kj::HttpServerErrorHandler, private kj::TaskSet::ErrorHandler {
  // It costs the event loop next to nothing, however it is used: accepting and reading take turns
  // at a pace, a connection has one answer, and what the source says is good for a second.

 public:
  HealthServer(kj::UnixEventPort& port, Fd listener, HealthSource& source, spdlog::logger& log);
  // `listener` is bound, listening and non-blocking. The rest outlives the server.
  ~HealthServer() noexcept(false);
  KJ_DISALLOW_COPY(HealthServer);

  kj::Promise<void> run();
  // Never resolves. Called once.

  static constexpr size_t MAX_CONNECTIONS = 16;
  // One more ends the oldest: those that say nothing keep nobody out.

 private:
  class Exchange;
  struct Connection {
    kj::Canceler canceler;
    kj::ListLink<Connection> link;
  };

  kj::UnixEventPort& port;
  Fd listener;
  kj::UnixEventPort::FdObserver observer;
  HealthSource& source;
  spdlog::logger& log;
  Pace pace;
  kj::HttpHeaderTable::Builder tableBuilder;
  kj::HttpHeaderId allow;
  kj::Own<kj::HttpHeaderTable> table;
  kj::HttpServer http;
  kj::Maybe<kj::ForkedPromise<kj::Own<Health>>> lastLook;
  kj::TimePoint lookedAt;
  bool acceptFailed = false;                            // so that a lasting shortage is logged once
  kj::List<Connection, &Connection::link> connections;  // the oldest first
  kj::TaskSet tasks;

  kj::Promise<void> acceptNext();
  kj::Promise<void> acceptLater(int error);
  void serve(Fd socket);
  kj::Promise<kj::Own<Health>> look();
  using Response = kj::HttpService::Response;
  kj::Promise<void> request(kj::HttpMethod method, kj::StringPtr url, Response& response);
  kj::Promise<void> answer(Response& response, uint status, kj::StringPtr statusText,
                           kj::StringPtr body);

  kj::Promise<void> handleClientProtocolError(kj::HttpHeaders::ProtocolError error,
                                              Response& response) override;
  kj::Promise<void> handleApplicationError(kj::Exception exception,
                                           kj::Maybe<Response&> response) override;
  void taskFailed(kj::Exception&& exception) override;
};

}  // namespace warden::frontend
