#include "frontend/edge-server.h"
#include "frontend/serialize.h"

#include <errno.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/socket.h>

#include "base/socket-peer.h"

namespace warden::frontend {

namespace {

constexpr size_t READ_BUFFER_BYTES = 64 * 1024;
// Fewer than the descriptors that one turn of the event loop serves: connections that are there go
// first, and a flood of new ones waits in the listen queue.
constexpr int ACCEPTS_PER_TURN = 4;
constexpr kj::Duration RETRY_ACCEPT = 100 * kj::MILLISECONDS;
constexpr kj::Duration MALFORMED_LOG_INTERVAL = 1 * kj::SECONDS;
constexpr kj::Duration DRAIN_WRITE_TIMEOUT = 5 * kj::SECONDS;

}  // namespace

EdgeServer::EdgeServer(kj::UnixEventPort& port, Fd listenerParam, SessionFactory& sessions,
                       Options options, spdlog::logger& logger)
    : port(port),
      listener(kj::mv(listenerParam)),
      sessions(sessions),
      options(options),
      logger(logger),
      inputBuffer(kj::heapArray<kj::byte>(READ_BUFFER_BYTES)),
      drainBegins(nullptr),
      drainTimesOut(nullptr),
      users(options.maxConnections),
      tasks(*this) {
  auto paf = kj::newPromiseAndFulfiller<void>();
  drainFulfiller = kj::mv(paf.fulfiller);
  drainBegins = paf.promise.fork();
  drainTimesOut = drainBegins.addBranch()
                      .then([&port]() { return port.getTimer().afterDelay(DRAIN_WRITE_TIMEOUT); })
                      .fork();
  setNonblocking(listener);
  observer.emplace(port, listener.get(), kj::UnixEventPort::FdObserver::OBSERVE_READ);
}

EdgeServer::~EdgeServer() noexcept(false) {}

kj::Promise<void> EdgeServer::run() {
  return acceptLoop().exclusiveJoin(drainBegins.addBranch()).then([this]() {
    observer = nullptr;
    listener = nullptr;
  });
}

kj::Promise<void> EdgeServer::acceptLoop() {
  if (isDraining()) return kj::READY_NOW;
  for (int i = 0; i < ACCEPTS_PER_TURN; ++i) {
    int raw = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (raw >= 0) {
      acceptFailed = false;
      // What fails for one client (no memory, no room to watch its socket) ends that connection.
      KJ_IF_MAYBE (reason, kj::runCatchingExceptions([&]() { accepted(Fd(raw)); })) {
        taskFailed(kj::mv(*reason));
      }
      continue;
    }
    int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) {
      return KJ_ASSERT_NONNULL(observer).whenBecomesReadable().then(
          [this]() { return acceptLoop(); });
    }
    if (error == EINTR || error == ECONNABORTED) continue;
    return acceptLater(error);
  }
  return yield().then([this]() { return acceptLoop(); });
}

// Out of descriptors or memory: what waits in the listen queue stays there until some are free
// again.
kj::Promise<void> EdgeServer::acceptLater(int error) {
  bool shortage = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
  if (!shortage) KJ_FAIL_SYSCALL("accept4", error);
  if (!acceptFailed) logger.error("connections have to wait: accept: {}", strerror(error));
  acceptFailed = true;
  return port.getTimer().afterDelay(RETRY_ACCEPT).then([this]() { return acceptLoop(); });
}

void EdgeServer::accepted(Fd socket) {
  if (connections.size() >= options.maxConnections) {
    return refuse(kj::mv(socket),
                  "too many connections: close some, or raise frontend.max_connections");
  }
  uid_t user = peerOf(socket).uid;
  if (user == 0) return serve(kj::mv(socket), nullptr);
  KJ_IF_MAYBE (place, users.take(user)) {
    return serve(kj::mv(socket), kj::mv(*place));
  }
  refuse(kj::mv(socket),
         "too many connections: you have all that frontend.max_connections lets one user have; "
         "close some");
}

void EdgeServer::serve(Fd socket, kj::Maybe<Place> place) {
  EdgeContext& context = *this;
  auto connection = kj::heap<EdgeConnection>(context, kj::mv(socket), options.maxRequestBytes);
  auto& reference = *connection;
  connections.add(reference);
  auto listed = kj::defer([this, &reference]() { connections.remove(reference); });
  auto served = kj::evalNow([&]() { return reference.run(sessions); });
  tasks.add(served.attach(kj::mv(listed)).attach(kj::mv(connection), kj::mv(place)));
}

// The response is small and the socket new, so it is taken whole or the client has gone.
void EdgeServer::refuse(Fd socket, kj::StringPtr text) {
  auto frame = encodeFrame(Message::Error, encodeError(text));
  if (send(socket, frame.begin(), frame.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return;
  recv(socket, inputBuffer.begin(), inputBuffer.size(), MSG_DONTWAIT);
}

void EdgeServer::frameIsMalformed(int socket, kj::StringPtr reason) {
  auto now = port.getTimer().now();
  if (now < nextMalformedLog) return;
  nextMalformedLog = now + MALFORMED_LOG_INTERVAL;
  logger.warn("connection of uid {} closed: undecodable frame: {}", peerOf(socket).uid,
              reason.cStr());
}

// Timers fire only after the event port has been polled.
kj::Promise<void> EdgeServer::yield() {
  return port.getTimer().afterDelay(0 * kj::SECONDS);
}

kj::Promise<void> EdgeServer::drain() {
  KJ_REQUIRE(!isDraining(), "drained twice");
  drainFulfiller->fulfill();
  drainFulfiller = nullptr;
  for (auto& connection : connections)
    connection.drain();
  return tasks.onEmpty();
}

void EdgeServer::taskFailed(kj::Exception&& exception) {
  if (exception.getType() == kj::Exception::Type::DISCONNECTED) return;
  logger.error("connection closed by internal error {}: {}", nextErrorNumber(),
               kj::str(exception).cStr());
}

}  // namespace warden::frontend
