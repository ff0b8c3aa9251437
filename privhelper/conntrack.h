#pragma once
// Connections that the kernel knows of (conntrack), by ctnetlink.

#include <stdint.h>

#include "privhelper/netlink-socket.h"

namespace warden::privhelper {

class Conntrack {
 public:
  explicit Conntrack(NetlinkSocket& socket) : socket(socket) {}

  void forget(uint32_t address);
  // Ends what the kernel remembers of connections from and to an IPv4 address (host byte order), so
  // that no packet that comes later passes as part of one. Looks through the kernel's whole table.
  // Throws StepError.

 private:
  NetlinkSocket& socket;

  void forget(uint32_t address, uint16_t tuple, uint16_t flags);
};

}  // namespace warden::privhelper
