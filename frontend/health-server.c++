#include "frontend/health-server.h"

#include <errno.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/socket.h>

namespace warden::frontend {

namespace {

using kj::MILLISECONDS;
using kj::SECONDS;

// 500 turns a second, of some 50 us each at most; a request takes two or three.
constexpr auto TURN = 2 * MILLISECONDS;
constexpr unsigned TURNS_AT_ONCE = 64;

constexpr auto FRESH = 1 * SECONDS;

// Of a connection in all: who does not read its answers does not stay.
constexpr auto LIFE = 30 * SECONDS;
constexpr auto RETRY_ACCEPT = 100 * MILLISECONDS;

kj::HttpServerSettings settingsWith(kj::HttpServerErrorHandler& handler) {
  kj::HttpServerSettings settings;
  settings.headerTimeout = 5 * SECONDS;
  settings.pipelineTimeout = 5 * SECONDS;
  settings.canceledUploadGracePeriod = 100 * MILLISECONDS;
  settings.canceledUploadGraceBytes = 4096;
  settings.errorHandler = handler;
  return settings;
}

kj::StringPtr METHOD_NOT_ALLOWED = "Method Not Allowed"_kj;
kj::StringPtr METHODS = "GET, HEAD"_kj;
kj::StringPtr ONLY_METHODS = "only GET and HEAD\n"_kj;

kj::ArrayPtr<const char> pathOf(kj::StringPtr url) {
  KJ_IF_MAYBE (end, url.findFirst('?')) {
    return url.slice(0, *end);
  }
  return url;
}

}  // namespace

class HealthServer::Exchange final : public kj::HttpService {
  // What one connection asks: once. So what else it has sent at once is not worth anybody's while,
  // and programs that wait for the end of the connection have it.

 public:
  Exchange(HealthServer& server, PacedStream& stream) : server(server), stream(stream) {}

  kj::Promise<void> request(kj::HttpMethod method, kj::StringPtr url, const kj::HttpHeaders&,
                            kj::AsyncInputStream&, Response& response) override {
    if (answered) return KJ_EXCEPTION(DISCONNECTED, "one answer a connection");
    answered = true;
    return server.request(method, url, response).then([this]() { stream.endInput(); });
  }

 private:
  HealthServer& server;
  PacedStream& stream;
  bool answered = false;
};

HealthServer::HealthServer(kj::UnixEventPort& port, Fd listenerParam, HealthSource& source,
                           spdlog::logger& log)
    : port(port),
      listener(kj::mv(listenerParam)),
      observer(port, listener, kj::UnixEventPort::FdObserver::OBSERVE_READ),
      source(source),
      log(log),
      pace(port.getTimer(), TURN, TURNS_AT_ONCE),
      allow(tableBuilder.add("Allow")),
      table(tableBuilder.build()),
      http(
          port.getTimer(), *table,
          [this](kj::AsyncIoStream& stream) {
            return kj::heap<Exchange>(*this, kj::downcast<PacedStream>(stream));
          },
          settingsWith(*this)),
      lookedAt(port.getTimer().now()),
      tasks(*this) {}

HealthServer::~HealthServer() noexcept(false) {}

kj::Promise<void> HealthServer::run() {
  return acceptNext();
}

kj::Promise<void> HealthServer::acceptNext() {
  return pace.turn().then([this]() -> kj::Promise<void> {
    int raw = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (raw >= 0) {
      acceptFailed = false;
      KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() { serve(Fd(raw)); })) {
        taskFailed(kj::mv(*reason));
      }
      return acceptNext();
    }
    int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) {
      return observer.whenBecomesReadable().then([this]() { return acceptNext(); });
    }
    if (error == EINTR || error == ECONNABORTED) return acceptNext();
    return acceptLater(error);
  });
}

// Whatever it is, the server does its work without this port.
kj::Promise<void> HealthServer::acceptLater(int error) {
  if (!acceptFailed) log.error("health_check_server: accept: {}", strerror(error));
  acceptFailed = true;
  return port.getTimer().afterDelay(RETRY_ACCEPT).then([this]() { return acceptNext(); });
}

void HealthServer::serve(Fd socket) {
  if (connections.size() >= MAX_CONNECTIONS) {
    auto& oldest = *connections.begin();
    connections.remove(oldest);
    oldest.canceler.cancel(KJ_EXCEPTION(DISCONNECTED, "others want to be served"));
  }
  auto connection = kj::heap<Connection>();
  auto& reference = *connection;
  connections.add(reference);
  auto listed = kj::defer([this, &reference]() {
    if (reference.link.isLinked()) connections.remove(reference);
  });
  auto served = http.listenHttp(kj::heap<PacedStream>(port, kj::mv(socket), pace))
                    .exclusiveJoin(port.getTimer().afterDelay(LIFE));
  tasks.add(
      reference.canceler.wrap(kj::mv(served)).attach(kj::mv(listed)).attach(kj::mv(connection)));
}

kj::Promise<kj::Own<Health>> HealthServer::look() {
  auto now = port.getTimer().now();
  if (lastLook == nullptr || now - lookedAt >= FRESH) {
    lookedAt = now;
    lastLook = source.look().fork();
  }
  return KJ_ASSERT_NONNULL(lastLook).addBranch();
}

kj::Promise<void> HealthServer::answer(Response& response, uint status, kj::StringPtr statusText,
                                       kj::StringPtr body) {
  kj::HttpHeaders headers(*table);
  headers.set(kj::HttpHeaderId::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
  if (status == 405) headers.set(allow, METHODS);
  auto stream = response.send(status, statusText, headers, body.size());
  auto written = stream->write(body.begin(), body.size());
  return written.attach(kj::mv(stream));
}

kj::Promise<void> HealthServer::request(kj::HttpMethod method, kj::StringPtr url,
                                        Response& response) {
  auto path = pathOf(url);
  // Monitors of the Ruby warden, which answered anything, ask for the root.
  bool isHealth = path == "/healthz"_kj.asArray() || path == "/"_kj.asArray();
  bool isMetrics = path == "/metrics"_kj.asArray();
  if (!isHealth && !isMetrics) return answer(response, 404, "Not Found", "not found\n");
  if (method != kj::HttpMethod::GET && method != kj::HttpMethod::HEAD) {
    return answer(response, 405, METHOD_NOT_ALLOWED, ONLY_METHODS);
  }
  return look().then([=, this, &response](kj::Own<Health> health) {
    kj::Promise<void> answered = nullptr;
    if (isMetrics) {
      answered = answer(response, 200, "OK", health->metrics);
    } else if (health->trouble.size() == 0) {
      answered = answer(response, 200, "OK", "ok\n");
    } else {
      answered = answer(response, 503, "Service Unavailable", health->trouble);
    }
    return answered.attach(kj::mv(health));
  });
}

kj::Promise<void> HealthServer::handleClientProtocolError(kj::HttpHeaders::ProtocolError error,
                                                          Response& response) {
  // What the library says of a method that it does not know.
  if (error.statusCode == 501) {
    return answer(response, 405, METHOD_NOT_ALLOWED, ONLY_METHODS);
  }
  return answer(response, error.statusCode, error.statusMessage, "bad request\n");
}

// The text of an exception is for the log, not for everybody.
kj::Promise<void> HealthServer::handleApplicationError(kj::Exception exception,
                                                       kj::Maybe<Response&> response) {
  if (exception.getType() == kj::Exception::Type::DISCONNECTED) return kj::READY_NOW;
  taskFailed(kj::mv(exception));
  KJ_IF_MAYBE (r, response) {
    return answer(*r, 500, "Internal Server Error", "internal error\n");
  }
  return kj::READY_NOW;
}

void HealthServer::taskFailed(kj::Exception&& exception) {
  if (exception.getType() == kj::Exception::Type::DISCONNECTED) return;
  log.debug("health_check_server: {}", kj::str(exception).cStr());
}

}  // namespace warden::frontend
