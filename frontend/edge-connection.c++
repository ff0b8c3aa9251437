#include "frontend/edge-connection.h"

#include <errno.h>
#include <kj/debug.h>
#include <sys/socket.h>

namespace warden::frontend {

namespace {

// A client that never stops pipelining gets this many answers before others have their turn.
constexpr uint REQUESTS_PER_TURN = 16;

bool waitsForAJob(Message::Type type) {
  return type == Message::Link || type == Message::Run || type == Message::Stream;
}

}  // namespace

EdgeConnection::EdgeConnection(EdgeContext& context, Fd socketParam, size_t maxRequestBytes)
    : context(context),
      socket(kj::mv(socketParam)),
      observer(context.eventPort(), socket, kj::UnixEventPort::FdObserver::OBSERVE_READ_WRITE),
      decoder(maxRequestBytes),
      writer(context, observer, socket),
      // A client that only shuts down its sending direction (shutdown(2), SHUT_WR) does not raise
      // POLLHUP (unix(7) sockets), and still gets its answers.
      hangup(observer.whenWriteDisconnected().then([this]() { hungUp = true; }).fork()) {}

EdgeConnection::~EdgeConnection() noexcept(false) {
  finished(RequestOutcome::GONE);
  context.holdInput(heldInput, 0);
  discardInput(socket);
}

kj::Promise<void> EdgeConnection::run(SessionFactory& sessions) {
  session = sessions.open(socket);
  return canceler.wrap(serve());
}

bool EdgeConnection::mayHoldInput() {
  size_t before = heldInput;
  heldInput = decoder.heldBytes();
  return context.holdInput(before, heldInput) || heldInput <= EdgeContext::SMALL_BYTES;
}

kj::Promise<void> EdgeConnection::serve() {
  for (;;) {
    if (context.isDraining()) return kj::READY_NOW;
    auto decoded = decoder.next();
    KJ_SWITCH_ONEOF(decoded) {
      KJ_CASE_ONEOF(frame, Frame) {
        return execute(kj::mv(frame));
      }
      KJ_CASE_ONEOF(malformed, MalformedFrame) {
        context.frameIsMalformed(socket, malformed.reason);
        return kj::READY_NOW;
      }
      KJ_CASE_ONEOF(incomplete, IncompleteFrame) {}
    }
    auto buffer = context.readBuffer();
    ssize_t n = recv(socket, buffer.begin(), buffer.size(), 0);
    if (n > 0) {
      decoder.feed(buffer.slice(0, n));
    } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      requestsInARow = 0;
      if (!mayHoldInput()) {
        context.log().warn("connection closed: unfinished requests take too much memory");
        return kj::READY_NOW;
      }
      return observer.whenBecomesReadable().then([this]() { return serve(); });
    } else if (n == 0 || errno != EINTR) {
      return kj::READY_NOW;
    }
  }
}

kj::Promise<void> EdgeConnection::execute(Frame&& frame) {
  current = frame.type;
  context.requestBegins();
  // Nothing is read meanwhile: what a client pipelines waits in its own socket.
  auto answered =
      kj::evalNow([&]() { return session->handle(frame.type, kj::mv(frame.payload), writer); });
  auto disconnected = hangup.addBranch().then([]() -> Continuation {
    kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "the client has gone"));
  });
  return answered.exclusiveJoin(kj::mv(disconnected))
      .then([this](Continuation continuation) { return next(continuation); },
            [this](kj::Exception&& exception) { return answerFailure(kj::mv(exception)); });
}

// Of the request under way, if there is one.
void EdgeConnection::finished(RequestOutcome outcome) {
  KJ_IF_MAYBE (type, current) {
    context.requestEnds(*type, outcome);
  }
  current = nullptr;
}

kj::Promise<void> EdgeConnection::next(Continuation continuation) {
  finished(continuation == Continuation::CLOSE ? RequestOutcome::UNDECODABLE
           : writer.lastWasError()             ? RequestOutcome::FAILED
                                               : RequestOutcome::DONE);
  if (continuation == Continuation::CLOSE || writer.isBroken()) return kj::READY_NOW;
  if (++requestsInARow < REQUESTS_PER_TURN) return serve();
  requestsInARow = 0;
  return context.yield().then([this]() { return serve(); });
}

kj::Promise<void> EdgeConnection::answerFailure(kj::Exception&& exception) {
  if (hungUp || writer.clientHasGone()) {
    finished(RequestOutcome::GONE);
    return kj::READY_NOW;
  }
  finished(RequestOutcome::FAILED);
  uint64_t number = context.nextErrorNumber();
  context.log().error("internal error {}: {}", number, kj::str(exception).cStr());
  if (writer.isBroken()) return next(Continuation::CLOSE);
  auto parts = kj::heapArrayBuilder<PayloadPart>(1);
  parts.add(encodeError(kj::str("internal error (number ", number, ")")));
  return writer.send(Message::Error, parts.finish())
      .then([this]() { return next(Continuation::KEEP_OPEN); },
            [](kj::Exception&&) -> kj::Promise<void> {
              // Only the client's going away makes this fail.
              return kj::READY_NOW;
            });
}

void EdgeConnection::drain() {
  bool waiting = true;
  KJ_IF_MAYBE (type, current) {
    waiting = waitsForAJob(*type);
  }
  if (waiting) canceler.cancel(KJ_EXCEPTION(DISCONNECTED, "the server stops"));
}

}  // namespace warden::frontend
