#pragma once
// The floor's network: a veth pair between this network namespace and the container's.

#include <sys/types.h>

#include "base/fd.h"

namespace warden::bench {

struct FloorAddresses {
  // Of a /30, in host byte order. The interfaces' indexes are chosen too, so that nothing needs to
  // be asked for.

  uint32_t host;
  uint32_t container;
  int hostIndex;
  int containerIndex;
};

FloorAddresses floorAddresses(unsigned number);
// Those of the container with this number. Indexes do not repeat; addresses do after 16,384.

class RouteSocket {
  // NETLINK_ROUTE, rtnetlink(7). Every function throws kj::Exception.

 public:
  RouteSocket();

  void addPair(const FloorAddresses& addresses, int containerNamespace);
  // Both interfaces, the host's with its address and up: one send().

  void configureContainer(const FloorAddresses& addresses);
  // To be called in the container's namespace: address, up, default route by the host's.

 private:
  Fd fd;
  unsigned sequence = 0;

  class Batch;
  void execute(Batch& batch);
};

}  // namespace warden::bench
