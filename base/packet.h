#pragma once
// One Cap'n Proto message plus descriptors as one SOCK_SEQPACKET packet: how the processes of the
// server talk. What arrives is untrusted: sizes, nesting and traversal are limited, and no
// descriptor that a peer attaches can leak.

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/array.h>
#include <kj/vector.h>

#include "base/fd.h"

namespace warden {

constexpr size_t MAX_PACKET_BYTES = 128 * 1024;
constexpr size_t MAX_PACKET_FDS = 8;

void allowLargestPacket(int socket);
// Enlarges the socket's send buffer, if need be, so that a packet of MAX_PACKET_BYTES fits
// (socket(7), SO_SNDBUF).

class Packet {
  // A received packet. Readers obtained from it are valid as long as it lives and is not moved.

 public:
  Packet(kj::Array<capnp::word> words, kj::Vector<Fd> fds);

  template <typename T>
  typename T::Reader getRoot() {
    return reader->getRoot<T>();
  }

  size_t fdCount() const { return fds.size(); }
  Fd takeFd(size_t index);
  // Fails when the peer sent fewer descriptors, or this one was taken before.

 private:
  kj::Array<capnp::word> words;
  kj::Own<capnp::FlatArrayMessageReader> reader;
  kj::Vector<Fd> fds;
};

Packet decodePacket(kj::ArrayPtr<const kj::byte> bytes, kj::Vector<Fd> fds = {});
// What receivePacket does with the bytes it got; separate for fuzzing. Throws FAILED when they are
// not a well-formed message.

bool sendPacket(int socket, capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds = nullptr);
// False: the socket is non-blocking and full; nothing was sent. Throws DISCONNECTED when the peer
// is gone, FAILED when the message is too large.

bool sendPacket(int socket, kj::ArrayPtr<const capnp::word> message,
                kj::ArrayPtr<const int> fds = nullptr);
// Likewise, of a message that was serialized before (capnp::messageToFlatArray).

kj::Maybe<Packet> receivePacket(int socket);
// None: the socket is non-blocking and empty. Throws DISCONNECTED when the peer has closed its end
// (or sent an empty packet), FAILED when what arrived is malformed, truncated or carries too many
// descriptors; the packet is consumed and its descriptors closed, and the next can be received.

}  // namespace warden
