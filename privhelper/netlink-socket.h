#pragma once
// Netlink (netlink(7)): messages to the kernel, its answers, and its notifications. The kernel
// carries a message out while it is sent, so an answer is there when the sending returns, and
// nothing waits.

#include <kj/array.h>
#include <kj/function.h>
#include <kj/vector.h>
#include <libmnl/libmnl.h>
#include <stdint.h>

#include "base/fd.h"

namespace warden::privhelper {

class NetlinkRequest {
  // One or several messages that are sent at once. Attributes are put with libmnl's functions on
  // what start() answers.

 public:
  static constexpr size_t LARGEST_MESSAGE = 16 * 1024;

  NetlinkRequest();
  KJ_DISALLOW_COPY(NetlinkRequest);

  nlmsghdr* start(uint16_t type, uint16_t flags);
  // The header of the next message, which has room for LARGEST_MESSAGE bytes. Valid until the next
  // start.

  nlmsghdr* startWith(kj::FunctionParam<nlmsghdr*(char* place, uint32_t sequence)> build);
  // For libraries that write headers of their own.

  size_t size() { return finish(); }
  // Bytes.

  void acknowledgeLast();
  // The success of the message that was started last is that of the whole; without this, of the
  // last.

 private:
  friend class NetlinkSocket;
  kj::Array<char> buffer;
  size_t used = 0;       // but for the last message, which may still grow
  uint32_t started = 0;  // messages; their sequence numbers count from 1
  uint32_t acknowledged = 0;

  nlmsghdr* last() { return reinterpret_cast<nlmsghdr*>(buffer.begin() + used); }
  size_t finish();
};

using NetlinkVisitor = kj::FunctionParam<void(const nlmsghdr*)>;

template <typename Visitor>
void visitAttributes(const void* start, size_t size, Visitor&& visit) {
  auto attribute = static_cast<const nlattr*>(start);
  auto left = static_cast<int>(size);
  while (mnl_attr_ok(attribute, left)) {
    visit(mnl_attr_get_type(attribute), attribute);
    left -= MNL_ALIGN(attribute->nla_len);
    attribute = mnl_attr_next(attribute);
  }
}

template <typename Visitor>
void visitAttributes(const nlmsghdr* message, size_t headerBytes, Visitor&& visit) {
  // `headerBytes`: of the header that the kind of message has before its attributes.
  if (mnl_nlmsg_get_payload_len(message) < MNL_ALIGN(headerBytes)) return;
  visitAttributes(mnl_nlmsg_get_payload_offset(message, headerBytes),
                  mnl_nlmsg_get_payload_len(message) - MNL_ALIGN(headerBytes), visit);
}

template <typename Visitor>
void visitAttributes(const nlattr* nest, Visitor&& visit) {
  visitAttributes(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), visit);
}

class NetlinkSocket {
  // Kept for the life of the server: closing a netlink socket waits for the kernel (tens of
  // milliseconds).

 public:
  explicit NetlinkSocket(int protocol, uint32_t groups = 0);
  // `groups`: a mask of the multicast groups to listen to (RTMGRP_* of rtnetlink(7)).

  void enlargeBuffers();
  // For large requests, and for many notifications at a time. Needs CAP_NET_ADMIN of the host.

  int fd() const { return socket; }

  void transact(const char* step, NetlinkRequest& request);
  // Sends all messages. Throws StepError with the kernel's error of the first message that failed;
  // the kernel has carried out the others all the same, except where the protocol has transactions.

  void query(const char* step, NetlinkRequest& request, NetlinkVisitor visitor);
  // Sends a request for objects and visits each. Throws StepError.

  bool receiveNotifications(NetlinkVisitor visitor);
  // Visits what has arrived, without waiting. False: notifications were lost (netlink(7), ENOBUFS).

 private:
  Fd socket;
  uint32_t portId;
  kj::Array<char> buffer;

  void send(const char* step, NetlinkRequest& request);
  int checkAnswers(kj::ArrayPtr<const char> received, uint32_t last, bool& finished) const;
  kj::Maybe<kj::ArrayPtr<const char>> receive(const char* step);
};

}  // namespace warden::privhelper
