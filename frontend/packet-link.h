#pragma once
// A SOCK_SEQPACKET connection to another process of the server, on the event loop.

#include <capnp/message.h>
#include <kj/async-unix.h>
#include <kj/function.h>
#include <kj/vector.h>

#include <deque>

#include "base/fd.h"
#include "base/packet.h"

namespace warden::frontend {

class PacketLink {
 public:
  PacketLink(kj::UnixEventPort& port, kj::Timer& timer, Fd socket);
  // `port` and `timer` are borrowed.

  static constexpr uint64_t DESCRIPTORS = 2;  // at most

  KJ_DISALLOW_COPY(PacketLink);

  void send(kj::Own<capnp::MallocMessageBuilder> message, kj::ArrayPtr<const int> fds = nullptr);
  // Sends at once, or after what waits already when the socket is full. `fds` are borrowed for the
  // call: duplicates of them wait. Throws OVERLOADED when MAX_QUEUED_PACKETS wait, DISCONNECTED
  // when the peer is gone, FAILED for a message that is larger than MAX_PACKET_BYTES.

  kj::Promise<void> receive(kj::Function<void(Packet)> handler);
  // Calls `handler` for each packet, in order. Never resolves; rejects when the peer is gone, when
  // a packet is malformed, when one that waited cannot be sent, or with what `handler` throws.
  // Called once; dropping the promise stops it.

  static constexpr size_t MAX_QUEUED_PACKETS = 8192;

 private:
  struct Queued {
    kj::Array<capnp::word> words;
    kj::Vector<Fd> fds;
  };

  struct WriteWatch {
    // While packets wait. At other times nobody is told that there is room, which is each time that
    // the peer takes a packet.
    Fd socket;
    kj::UnixEventPort::FdObserver observer;

    WriteWatch(kj::UnixEventPort& port, int socket);
  };

  kj::UnixEventPort& port;
  kj::Timer& timer;
  Fd socket;
  kj::UnixEventPort::FdObserver observer;
  kj::PromiseFulfillerPair<void> failure;  // of sending
  kj::Maybe<kj::Own<WriteWatch>> writeWatch;
  std::deque<Queued> queue;
  kj::Promise<void> flushing = nullptr;

  bool sendFirst();
  kj::Promise<void> flush();
  void flushFailed(kj::Exception&& reason);
  kj::Promise<void> receiveLoop(kj::Function<void(Packet)>& handler);
};

}  // namespace warden::frontend
