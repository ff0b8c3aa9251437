#pragma once
// The ports of the host's external address that containers have.

#include <kj/common.h>
#include <kj/string.h>
#include <stdint.h>

#include <bitset>
#include <deque>

#include "base/config.h"
#include "frontend/pools.h"

namespace warden::frontend {

struct PortRange {
  uint32_t first;
  uint32_t count;  // first + count <= 65536; may be 0
};

PortRange portPoolRange(const Config& config, kj::StringPtr localPortRange);
// What section `port` of the configuration says; without, from above the ephemeral ports up to
// 65000. Ports below privhelper.lowest_host_port are left out. `localPortRange`: the text of
// /proc/sys/net/ipv4/ip_local_port_range ("32768\t60999"); where it cannot be read as that, the
// kernel's default is taken (Documentation/networking/ip-sysctl.rst).

class PortPool;

using Port = Lease<PortPool>;
// A port that no other container can have.

class PortPool {
 public:
  explicit PortPool(PortRange range) : range(range), cursor(range.first) {}
  KJ_DISALLOW_COPY(PortPool);

  kj::Maybe<Port> next();
  // One of the range that nobody has: first those that were never used, then the one that was
  // released longest ago. None: all are in use.

  kj::Maybe<Port> take(uint16_t port);
  // This one, in the range or not, for a client that manages its ports itself. None: it is in use.

  PortRange covers() const { return range; }

 private:
  friend Port;
  static constexpr size_t PORTS = 65536;

  PortRange range;
  uint32_t cursor;  // of those never handed out by next()
  std::bitset<PORTS> used;
  std::bitset<PORTS> queued;  // is in `released`, also when take() has got it meanwhile
  std::deque<uint16_t> released;

  void release(uint16_t port);
  Port grant(uint16_t port);
};

}  // namespace warden::frontend
