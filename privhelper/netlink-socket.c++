#include "privhelper/netlink-socket.h"

#include <errno.h>
#include <kj/debug.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "privhelper/step.h"

namespace warden::privhelper {

namespace {

// Large enough for the transaction with the most parts: the start of a server that finds many
// containers with all port mappings and rules that each may have (the memory is taken for as long
// as it lasts); and for the notifications of many containers that end at once.
constexpr int SEND_BUFFER = 256 << 20;
constexpr int RECEIVE_BUFFER = 4 << 20;

// Of one packet from the kernel (netlink(7): 32 KiB for a dump).
constexpr size_t RECEIVE_BYTES = 64 * 1024;

int errorOf(const nlmsghdr* message) {
  auto error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
  return -error->error;
}

}  // namespace

NetlinkRequest::NetlinkRequest() : buffer(kj::heapArray<char>(2 * LARGEST_MESSAGE)) {}

size_t NetlinkRequest::finish() {
  // Answers the size of all messages.
  if (started == 0) return 0;
  KJ_ASSERT(last()->nlmsg_len <= LARGEST_MESSAGE);
  return used + MNL_ALIGN(last()->nlmsg_len);
}

nlmsghdr* NetlinkRequest::startWith(
    kj::FunctionParam<nlmsghdr*(char* place, uint32_t sequence)> build) {
  used = finish();
  if (buffer.size() < used + LARGEST_MESSAGE) {
    auto larger = kj::heapArray<char>(2 * buffer.size());
    memcpy(larger.begin(), buffer.begin(), used);
    buffer = kj::mv(larger);
  }
  return build(buffer.begin() + used, ++started);
}

void NetlinkRequest::acknowledgeLast() {
  last()->nlmsg_flags |= NLM_F_ACK;
  acknowledged = started;
}

nlmsghdr* NetlinkRequest::start(uint16_t type, uint16_t flags) {
  return startWith([&](char* place, uint32_t sequence) {
    nlmsghdr* header = mnl_nlmsg_put_header(place);
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    header->nlmsg_seq = sequence;
    return header;
  });
}

NetlinkSocket::NetlinkSocket(int protocol, uint32_t groups)
    : buffer(kj::heapArray<char>(RECEIVE_BYTES)) {
  int raw;
  KJ_SYSCALL(raw = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  socket = Fd(raw);
  // Errors without a copy of the message that they are about.
  int yes = 1;
  KJ_SYSCALL(setsockopt(socket, SOL_NETLINK, NETLINK_CAP_ACK, &yes, sizeof(yes)));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  KJ_SYSCALL(bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)));
  socklen_t size = sizeof(address);
  KJ_SYSCALL(getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size));
  portId = address.nl_pid;
}

void NetlinkSocket::enlargeBuffers() {
  KJ_SYSCALL(setsockopt(socket, SOL_SOCKET, SO_SNDBUFFORCE, &SEND_BUFFER, sizeof(SEND_BUFFER)));
  KJ_SYSCALL(
      setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &RECEIVE_BUFFER, sizeof(RECEIVE_BUFFER)));
}

void NetlinkSocket::send(const char* step, NetlinkRequest& request) {
  // Answers to a request that failed half way, if there are any.
  while (receive(step) != nullptr) {
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  iovec data{request.buffer.begin(), request.finish()};
  msghdr message{};
  message.msg_name = &kernel;
  message.msg_namelen = sizeof(kernel);
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  privhelper::step(step, [&] { return sendmsg(socket, &message, 0); });
}

kj::Maybe<kj::ArrayPtr<const char>> NetlinkSocket::receive(const char* step) {
  for (;;) {
    sockaddr_nl sender{};
    iovec data{buffer.begin(), buffer.size()};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof(sender);
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return nullptr;
    if (n < 0) throw StepError(step, errno);
    if ((message.msg_flags & MSG_TRUNC) != 0) throw StepError(step, EMSGSIZE);
    // Other processes may send to the socket; only the kernel has the number 0.
    if (sender.nl_pid != 0) continue;
    return buffer.slice(0, n).asConst();
  }
}

int NetlinkSocket::checkAnswers(kj::ArrayPtr<const char> received, uint32_t last,
                                bool& finished) const {
  // The first error in the packet; 0: none. Finished: the last message of the request is answered.
  int left = received.size();
  for (auto message = reinterpret_cast<const nlmsghdr*>(received.begin());
       mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
    if (message->nlmsg_type != NLMSG_ERROR) continue;
    int error = errorOf(message);
    if (error != 0) return error;
    if (message->nlmsg_seq == last) finished = true;
  }
  return 0;
}

void NetlinkSocket::transact(const char* step, NetlinkRequest& request) {
  if (request.acknowledged == 0) request.acknowledgeLast();
  send(step, request);
  bool finished = false;
  int error = 0;
  for (;;) {
    KJ_IF_MAYBE (received, receive(step)) {
      int found = checkAnswers(*received, request.acknowledged, finished);
      if (error == 0) error = found;
    } else {
      break;
    }
  }
  if (error != 0) throw StepError(step, error);
  if (!finished) throw StepError(step, 0, "the kernel did not answer");
}

void NetlinkSocket::query(const char* step, NetlinkRequest& request, NetlinkVisitor visitor) {
  send(step, request);
  // A dump goes on as it is read.
  for (;;) {
    KJ_IF_MAYBE (received, receive(step)) {
      int left = received->size();
      for (auto message = reinterpret_cast<const nlmsghdr*>(received->begin());
           mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
        if (message->nlmsg_type == NLMSG_DONE) return;
        if (message->nlmsg_type == NLMSG_ERROR) {
          if (errorOf(message) != 0) throw StepError(step, errorOf(message));
        } else {
          visitor(message);
        }
      }
    } else {
      return;
    }
  }
}

bool NetlinkSocket::receiveNotifications(NetlinkVisitor visitor) {
  try {
    for (;;) {
      KJ_IF_MAYBE (received, receive("receive notifications")) {
        int left = received->size();
        for (auto message = reinterpret_cast<const nlmsghdr*>(received->begin());
             mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
          visitor(message);
        }
      } else {
        return true;
      }
    }
  } catch (const StepError& e) {
    if (e.error() == ENOBUFS) return false;
    throw;
  }
}

}  // namespace warden::privhelper
