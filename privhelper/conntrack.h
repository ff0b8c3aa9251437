#pragma once
// Connections that the kernel knows of (conntrack), by ctnetlink.

#include <kj/function.h>
#include <stdint.h>

#include <set>

#include "base/ipv4.h"
#include "privhelper/netlink-socket.h"

namespace warden::privhelper {

class Conntrack {
  // Forgetting: ends what the kernel remembers of the connections from and to addresses, so that no
  // packet that comes later passes as part of one. The kernel looks through its whole table, which
  // takes some 10 ms for 262144 buckets, and more where there are many connections. Throw
  // StepError.

 public:
  explicit Conntrack(NetlinkSocket& socket) : socket(socket) {}

  void forget(const std::set<uint32_t>& addresses);
  void forgetAllBut(const std::set<uint32_t>& addresses, const Ipv4Range& range);
  // Of those in `range`.

 private:
  using Predicate = kj::Function<bool(uint32_t address)>;
  NetlinkSocket& socket;

  void forgetBySource(uint32_t address, uint16_t tuple, uint16_t flags);
  void forgetFound(NetlinkRequest& question, Predicate concerns);
};

}  // namespace warden::privhelper
