#include "frontend/packet-link.h"

#include <kj/debug.h>

namespace warden::frontend {

namespace {

// After so many packets the rest of the event loop has its turn.
constexpr int PACKETS_PER_TURN = 64;

}  // namespace

// epoll(7) takes a descriptor only once, so this is another one of the same socket.
PacketLink::WriteWatch::WriteWatch(kj::UnixEventPort& port, int original)
    : socket(duplicate(original)),
      observer(port, socket, kj::UnixEventPort::FdObserver::OBSERVE_WRITE) {}

PacketLink::PacketLink(kj::UnixEventPort& port, kj::Timer& timer, Fd socketParam)
    : port(port),
      timer(timer),
      socket(kj::mv(socketParam)),
      observer(port, socket, kj::UnixEventPort::FdObserver::OBSERVE_READ),
      failure(kj::newPromiseAndFulfiller<void>()) {
  setNonblocking(socket);
  allowLargestPacket(socket);
}

void PacketLink::send(kj::Own<capnp::MallocMessageBuilder> message, kj::ArrayPtr<const int> fds) {
  auto words = capnp::messageToFlatArray(*message);
  // Also of what is to wait: whoever sends it is to know, not those whose packets come after it.
  KJ_REQUIRE(words.asBytes().size() <= MAX_PACKET_BYTES, "message is too large for a packet",
             words.asBytes().size());
  if (queue.empty() && sendPacket(socket, words, fds)) return;
  if (queue.size() >= MAX_QUEUED_PACKETS) {
    kj::throwFatalException(KJ_EXCEPTION(OVERLOADED, "peer does not read what it is sent"));
  }
  if (writeWatch == nullptr) writeWatch = kj::heap<WriteWatch>(port, socket);
  Queued packet{kj::mv(words), {}};
  for (int fd : fds)
    packet.fds.add(duplicate(fd));
  queue.push_back(kj::mv(packet));
  if (queue.size() == 1) {
    flushing =
        flush().eagerlyEvaluate([this](kj::Exception&& reason) { flushFailed(kj::mv(reason)); });
  }
}

bool PacketLink::sendFirst() {
  Queued& packet = queue.front();
  kj::Vector<int> fds;
  for (auto& fd : packet.fds)
    fds.add(fd.get());
  return sendPacket(socket, packet.words, fds);
}

void PacketLink::flushFailed(kj::Exception&& reason) {
  // A peer that is gone is seen by receive(), once what it sent before has been read. With any
  // other error the order of packets cannot be kept: none of those that wait will ever be sent.
  if (reason.getType() == kj::Exception::Type::DISCONNECTED) return;
  failure.fulfiller->reject(kj::mv(reason));
}

kj::Promise<void> PacketLink::flush() {
  // Writability is signalled by edges, and the last attempt found the socket full; where it has
  // room again by the time that it is watched, that counts as an edge.
  auto writable = KJ_ASSERT_NONNULL(writeWatch)->observer.whenBecomesWritable();
  return writable.then([this]() -> kj::Promise<void> {
    while (!queue.empty()) {
      if (!sendFirst()) return flush();
      queue.pop_front();
    }
    writeWatch = nullptr;
    return kj::READY_NOW;
  });
}

kj::Promise<void> PacketLink::receive(kj::Function<void(Packet)> handler) {
  auto owned = kj::heap(kj::mv(handler));
  return kj::evalNow([&]() { return receiveLoop(*owned); })
      .exclusiveJoin(kj::mv(failure.promise))
      .attach(kj::mv(owned));
}

kj::Promise<void> PacketLink::receiveLoop(kj::Function<void(Packet)>& handler) {
  for (int i = 0; i < PACKETS_PER_TURN; ++i) {
    KJ_IF_MAYBE (packet, receivePacket(socket)) {
      handler(kj::mv(*packet));
    } else {
      return observer.whenBecomesReadable().then(
          [this, &handler]() { return receiveLoop(handler); });
    }
  }
  // A timer that is due, unlike kj::evalLater, lets the loop look for other input first.
  return timer.afterDelay(0 * kj::SECONDS).then([this, &handler]() {
    return receiveLoop(handler);
  });
}

}  // namespace warden::frontend
