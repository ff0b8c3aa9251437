#pragma once
// One client connection: reads frames, hands one request at a time to its session, closes.

#include <kj/async-unix.h>
#include <kj/list.h>

#include "base/fd.h"
#include "frontend/edge-context.h"
#include "frontend/edge-writer.h"
#include "frontend/frame-codec.h"
#include "frontend/session.h"

namespace warden::frontend {

class EdgeConnection {
 public:
  EdgeConnection(EdgeContext& context, Fd socket, size_t maxRequestBytes);
  // `socket` is non-blocking.
  ~EdgeConnection() noexcept(false);

  kj::Promise<void> run(SessionFactory& sessions);
  // Resolves when the connection is to be closed: the client has gone, sent what is no frame, or
  // the server drains. The connection outlives the promise. Rejects with DISCONNECTED after
  // drain(), otherwise only for a bug.

  void drain();
  // Ends the connection if it is idle or waits for a job; otherwise it ends after its request.

  kj::ListLink<EdgeConnection> link;

 private:
  EdgeContext& context;
  Fd socket;
  kj::UnixEventPort::FdObserver observer;
  FrameDecoder decoder;
  size_t heldInput = 0;  // as the server counts it
  EdgeWriter writer;
  kj::ForkedPromise<void> hangup;  // the client has closed both directions
  kj::Own<Session> session;
  kj::Maybe<Message::Type> current;  // the request under way
  bool hungUp = false;
  uint requestsInARow = 0;  // without the event loop having looked at others
  kj::Canceler canceler;

  bool mayHoldInput();
  void finished(RequestOutcome outcome);
  kj::Promise<void> serve();
  kj::Promise<void> execute(Frame&& frame);
  kj::Promise<void> next(Continuation continuation);
  kj::Promise<void> answerFailure(kj::Exception&& exception);
};

}  // namespace warden::frontend
