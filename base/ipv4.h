#pragma once
// IPv4 addresses and ranges of them, as the configuration and clients write them. Addresses are
// numbers in host byte order.

#include <kj/common.h>
#include <kj/string.h>
#include <stdint.h>

namespace warden {

struct Ipv4Range {
  uint32_t first;
  uint32_t last;  // included

  bool contains(uint32_t address) const { return first <= address && address <= last; }
};

kj::Maybe<uint32_t> parseIpv4(kj::StringPtr text);
// "a.b.c.d", decimal without leading zeros, nothing around it.

kj::Maybe<Ipv4Range> parseIpv4Range(kj::StringPtr text);
// An address, a network "a.b.c.d/n" (n in 0..32; host bits are ignored), or a range
// "a.b.c.d-e.f.g.h" that is not reversed.

kj::String ipv4Text(uint32_t address);

}  // namespace warden
