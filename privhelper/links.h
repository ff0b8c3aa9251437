#pragma once
// Network interfaces, addresses and traffic shaping, by rtnetlink (rtnetlink(7), tc(8)).

#include <kj/string.h>
#include <kj/vector.h>

#include "base/ipv4.h"
#include "privhelper/netlink-socket.h"

namespace warden::privhelper {

struct LinkPair {
  // A veth pair: one end on the host, up and with an address, the other in a container's network
  // namespace.
  kj::StringPtr hostName;
  uint32_t hostIndex;
  kj::StringPtr peerName;
  int peerNamespace;
  uint32_t mtu;          // bytes
  uint32_t hostAddress;  // of a /30
  kj::StringPtr alias;   // of the host's end; tells whose it is
  bool hasIpv6;          // of the kernel
};

struct Link {
  uint32_t index;
  kj::String name;
  kj::String alias;
};

struct Shape {
  uint64_t rate;   // bytes a second
  uint32_t burst;  // bytes
  uint32_t queue;  // bytes that may wait; what comes on top is dropped
};

Shape shapeFor(uint64_t rate, uint64_t burst, uint32_t mtu);
// Any rate and burst, made fit for the kernel: so much that a whole packet passes, and no more than
// it can count.

constexpr uint32_t PEER_INDEX = 100;
// Of the container's end, in its namespace. Loopback is 1; the kernel may give the next ones to
// tunnel devices of every new namespace (net.core.fb_tunnels_only_for_init_net).

class Links {
 public:
  explicit Links(NetlinkSocket& socket) : socket(socket) {}

  void addPair(const LinkPair& pair);
  // Throws StepError: EBUSY when the index is taken, EEXIST when the name is; then nothing is left.

  void addShaper(kj::StringPtr name, uint32_t index, kj::StringPtr alias);
  // An ifb device, up.

  void shape(kj::ArrayPtr<const uint32_t> indexes, const Shape& shape, uint32_t generation);
  // What leaves by these interfaces. Replaces, while packets flow, what a call before has set with
  // another `generation`: by a new queue. One that is changed keeps the packets in it, and one of
  // them that is larger than the new bucket would stop it for ever (net/sched/sch_tbf.c).

  void redirectIncoming(uint32_t index, uint32_t shaper);
  // What comes in by interface `index` passes through the ifb device `shaper` first.

  void unshape(uint32_t index);
  // Takes away both, where they are there.

  void remove(uint32_t index);
  // Takes 20 ms and more. No error where there is no such interface.

  void removeAll(kj::ArrayPtr<const uint32_t> indexes);
  // At once, in about the time of one.

  kj::Vector<Link> list();

  kj::Vector<uint32_t> externalAddresses();
  // IPv4 addresses of the interfaces that default routes of the main table leave by.

 private:
  NetlinkSocket& socket;

  kj::Vector<uint32_t> defaultInterfaces();
};

void addLoopback(NetlinkRequest& request);
void addContainerEnd(NetlinkRequest& request, uint32_t index, uint32_t address, uint32_t gateway);
// What the container's side takes: loopback up; the peer up, with the second address of its /30 and
// a default route.

}  // namespace warden::privhelper
