#include "base/packet.h"

#include <errno.h>
#include <kj/debug.h>
#include <string.h>
#include <sys/socket.h>

namespace warden {

namespace {

// The kernel's own limit on descriptors in one message (unix(7), SCM_RIGHTS). A buffer of this size
// means that no descriptor a peer sends is ever installed without our knowing.
constexpr size_t SCM_MAX_FDS = 253;

constexpr int NESTING_LIMIT = 8;

// A message may be walked four times over; pointers that overlap cannot amplify beyond that.
constexpr uint64_t TRAVERSAL_LIMIT_WORDS = 4 * MAX_PACKET_BYTES / sizeof(capnp::word);

union ControlBuffer {
  cmsghdr align;
  char bytes[CMSG_SPACE(SCM_MAX_FDS * sizeof(int))];
};

void takeDescriptors(msghdr& header, kj::Vector<Fd>& fds) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      fds.add(Fd(fd));
    }
  }
}

}  // namespace

void allowLargestPacket(int socket) {
  // A packet is charged with its overhead (struct sk_buff); twice the payload covers it.
  constexpr int WANTED = 2 * MAX_PACKET_BYTES;
  int size;
  socklen_t length = sizeof(size);
  KJ_SYSCALL(getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &size, &length));
  // setsockopt doubles the value and caps it at net.core.wmem_max, whose default is enough.
  if (size < WANTED) {
    KJ_SYSCALL(setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &WANTED, sizeof(WANTED)));
  }
}

Packet::Packet(kj::Array<capnp::word> wordsParam, kj::Vector<Fd> fdsParam)
    : words(kj::mv(wordsParam)), fds(kj::mv(fdsParam)) {
  capnp::ReaderOptions options;
  options.nestingLimit = NESTING_LIMIT;
  options.traversalLimitInWords = TRAVERSAL_LIMIT_WORDS;
  reader = kj::heap<capnp::FlatArrayMessageReader>(words.asPtr(), options);
}

Fd Packet::takeFd(size_t index) {
  KJ_REQUIRE(index < fds.size() && fds[index] != nullptr, "packet lacks a descriptor", index);
  return kj::mv(fds[index]);
}

Packet decodePacket(kj::ArrayPtr<const kj::byte> bytes, kj::Vector<Fd> fds) {
  KJ_REQUIRE(bytes.size() > 0 && bytes.size() % sizeof(capnp::word) == 0,
             "packet is not a sequence of words", bytes.size());
  auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
  memcpy(words.begin(), bytes.begin(), bytes.size());
  return Packet(kj::mv(words), kj::mv(fds));
}

bool sendPacket(int socket, capnp::MessageBuilder& message, kj::ArrayPtr<const int> fds) {
  return sendPacket(socket, capnp::messageToFlatArray(message), fds);
}

bool sendPacket(int socket, kj::ArrayPtr<const capnp::word> message, kj::ArrayPtr<const int> fds) {
  auto bytes = message.asBytes();
  KJ_REQUIRE(bytes.size() <= MAX_PACKET_BYTES, "message is too large for a packet", bytes.size());
  KJ_REQUIRE(fds.size() <= MAX_PACKET_FDS, "too many descriptors for a packet", fds.size());

  iovec vector{const_cast<kj::byte*>(bytes.begin()), bytes.size()};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  ControlBuffer control;
  if (fds.size() > 0) {
    header.msg_control = control.bytes;
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    memset(control.bytes, 0, header.msg_controllen);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    memcpy(CMSG_DATA(c), fds.begin(), fds.size() * sizeof(int));
  }

  ssize_t n;
  do {
    n = sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) {
    int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) return false;
    KJ_FAIL_SYSCALL("sendmsg", error);
  }
  KJ_ASSERT(static_cast<size_t>(n) == bytes.size(), "a packet was sent in part");
  return true;
}

kj::Maybe<Packet> receivePacket(int socket) {
  // One word more than allowed, so that a packet over the limit is seen as such.
  alignas(8) static thread_local kj::byte buffer[MAX_PACKET_BYTES + sizeof(capnp::word)];
  ControlBuffer control;
  iovec vector{buffer, sizeof(buffer)};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes;
  header.msg_controllen = sizeof(control.bytes);

  ssize_t n;
  do {
    // ECONNRESET: the peer closed without reading all that it was sent. It is reported once, and
    // before what the peer itself had sent; that, or the end of the connection, comes next.
    n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (n < 0 && (errno == EINTR || errno == ECONNRESET));
  if (n < 0) {
    int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) return nullptr;
    KJ_FAIL_SYSCALL("recvmsg", error);
  }

  kj::Vector<Fd> fds;
  takeDescriptors(header, fds);
  if (n == 0) kj::throwFatalException(KJ_EXCEPTION(DISCONNECTED, "peer closed the connection"));
  KJ_REQUIRE((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
                 static_cast<size_t>(n) <= MAX_PACKET_BYTES,
             "packet is over the size limit");
  KJ_REQUIRE(fds.size() <= MAX_PACKET_FDS, "packet carries too many descriptors", fds.size());
  return decodePacket(kj::arrayPtr(buffer, static_cast<size_t>(n)), kj::mv(fds));
}

}  // namespace warden
