#include "base/config-network.h"

#include <arpa/inet.h>

namespace warden {

namespace {

// Unmapped ids show as 65534 inside of a user namespace (user_namespaces(7)); vcap must not be
// that.
constexpr uint64_t OVERFLOW_UID = 65534;

bool isNameserver(const std::string& text) {
  in6_addr address;
  return parseIpv4(text.c_str()) != nullptr || inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

// A.B.C.D/BITS without host bits.
kj::Maybe<Ipv4Range> parseNetwork(const std::string& text) {
  size_t slash = text.find('/');
  if (slash == std::string::npos) return nullptr;
  KJ_IF_MAYBE (range, parseIpv4Range(text.c_str())) {
    KJ_IF_MAYBE (address, parseIpv4(text.substr(0, slash).c_str())) {
      if (*address == range->first) return *range;
    }
  }
  return nullptr;
}

void readNetworkPool(ConfigSection& section, Config::Network& network) {
  if (auto pool = section.text("pool_network")) {
    for (const char* other : {"pool_start_address", "pool_size"}) {
      if (section.has(other)) {
        section.fail(other, "says again what pool_network says; one of the two is accepted");
      }
    }
    KJ_IF_MAYBE (range, parseNetwork(*pool)) {
      uint64_t size = uint64_t(range->last) - range->first + 1;
      if (size >= 4 && size <= 1 << 24) {
        network.poolStart = range->first;
        network.poolSize = size / 4;
        return;
      }
    }
    section.fail("pool_network",
                 "is no usable network; an IPv4 network from A.B.C.D/8 to A.B.C.D/30 is accepted");
  }
  if (auto start = section.text("pool_start_address")) {
    uint32_t address = 1;
    KJ_IF_MAYBE (parsed, parseIpv4(start->c_str())) {
      address = *parsed;
    }
    if (address % 4 != 0) {
      section.fail("pool_start_address",
                   "is no start of a /30; an IPv4 address that is a multiple of 4 is accepted");
    }
    network.poolStart = address;
  }
  assign(network.poolSize, section.number("pool_size", 1, uint64_t(1) << 22));
  if (uint64_t(network.poolStart) + uint64_t(network.poolSize) * 4 > uint64_t(1) << 32) {
    section.fail("pool_size", "goes past 255.255.255.255; fewer networks are accepted");
  }
}

// Addresses that mean something else to the kernel, or to the cloud that the host is in (RFC 6890).
void refuseSpecialPool(ConfigSection& section, const Config::Network& network) {
  struct Special {
    Ipv4Range range;
    const char* text;
  };
  constexpr Special SPECIAL[] = {
      {{0x00000000, 0x00ffffff}, "0.0.0.0/8"},
      {{0x7f000000, 0x7fffffff}, "127.0.0.0/8, loopback"},
      {{0xa9fe0000, 0xa9feffff}, "169.254.0.0/16, link-local"},
      {{0xe0000000, 0xffffffff}, "224.0.0.0 and above, multicast and reserved"},
  };
  uint32_t last = network.poolStart + network.poolSize * 4 - 1;
  for (const Special& special : SPECIAL) {
    if (last < special.range.first || network.poolStart > special.range.last) continue;
    section.fail(section.has("pool_network") ? "pool_network" : "pool_start_address",
                 std::string("includes addresses of ") + special.text +
                     "; a network that can be routed is accepted");
  }
}

std::vector<Ipv4Range> readRanges(ConfigSection& section, const std::string& key) {
  std::vector<Ipv4Range> ranges;
  for (const auto& item : section.texts(key)) {
    KJ_IF_MAYBE (range, parseIpv4Range(item.c_str())) {
      ranges.push_back(*range);
    } else {
      section.fail(key, "'" + item +
                            "' is no network; an IPv4 address, a network A.B.C.D/BITS or a range "
                            "FIRST-LAST is accepted");
    }
  }
  return ranges;
}

}  // namespace

Config::Network readNetwork(ConfigSection section) {
  Config::Network network;
  readNetworkPool(section, network);
  refuseSpecialPool(section, network);
  assign(network.releaseDelay, section.number("release_delay", 0, 86400));
  // The bounds of veth(4): ETH_MIN_MTU and ETH_MAX_MTU.
  assign(network.mtu, section.number("mtu", 68, 65535));
  network.allowNetworks = readRanges(section, "allow_networks");
  // The Ruby warden's exceptions from what it let everybody reach. Here that is nothing, and there,
  // too, allow_networks came first.
  readRanges(section, "deny_networks");
  assign(network.allowHostAccess, section.flag("allow_host_access"));
  assign(network.allowIpv6, section.flag("allow_ipv6"));
  network.dnsServers = section.texts("dns_servers");
  for (const auto& item : network.dnsServers) {
    if (!isNameserver(item)) {
      section.fail("dns_servers", "'" + item + "' is no address; IP addresses are accepted");
    }
  }
  section.finish();
  return network;
}

Config::Port readPort(ConfigSection section) {
  Config::Port port;
  assign(port.poolStart, section.number("pool_start_port", 1, 65535));
  assign(port.poolSize, section.number("pool_size", 1, 65535));
  if (port.poolStart && port.poolSize && *port.poolStart + *port.poolSize > 65536) {
    section.fail("pool_size", "goes past port 65535; fewer ports are accepted");
  }
  section.finish();
  return port;
}

Config::User readUser(ConfigSection section) {
  Config::User user;
  assign(user.poolStartUid, section.number("pool_start_uid", 1, OVERFLOW_UID - 1));
  assign(user.poolSize, section.number("pool_size", 1, Config::MAX_CONTAINERS));
  if (user.poolStartUid + user.poolSize > OVERFLOW_UID) {
    section.fail("pool_size",
                 "goes past uid 65533; pool_start_uid + pool_size up to 65534 is accepted");
  }
  section.finish();
  return user;
}

}  // namespace warden
