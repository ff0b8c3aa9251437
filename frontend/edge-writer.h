#pragma once
// Writes response frames to one client's socket, no faster than the client reads.

#include <kj/async-unix.h>
#include <kj/vector.h>

#include "frontend/edge-context.h"
#include "frontend/session.h"

namespace warden::frontend {

class EdgeWriter : public ResponseWriter {
  // Memory parts are sent from where they are, file ranges by sendfile(2): nothing is copied or
  // queued in this process.

 public:
  EdgeWriter(EdgeContext& context, kj::UnixEventPort::FdObserver& observer, int socket);
  // `socket` is non-blocking. All are borrowed.

  kj::Promise<void> send(Message::Type type, kj::Array<PayloadPart> payload) override;
  // Rejects with DISCONNECTED when the client has gone, FAILED when a file is shorter than its
  // range.

  bool isBroken() const { return broken; }
  // True after a frame was sent in part only (its promise was dropped, or failed): the stream of
  // frames cannot go on.

  bool clientHasGone() const { return gone; }

  bool lastWasError() const { return lastType == Message::Error; }
  // Of the frames that were sent.

 private:
  struct Segment {
    const kj::byte* bytes;  // null: of the file
    int fd;
    uint64_t offset;
    uint64_t size;
  };
  struct Outgoing;

  EdgeContext& context;
  kj::UnixEventPort::FdObserver& observer;
  int socket;
  Message::Type lastType = Message::Error;
  bool sending = false;
  bool broken = false;
  bool gone = false;

  kj::Promise<void> pump(Outgoing& frame);
  ssize_t writeSome(Outgoing& frame);
  ssize_t writeMemory(Outgoing& frame);
  ssize_t writeFile(Segment& segment);
  kj::Promise<void> waitWritable();
};

}  // namespace warden::frontend
