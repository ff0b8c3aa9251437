#pragma once
// Sets, chains and rules that are the same for all containers.

#include "privhelper/firewall.h"

namespace warden::privhelper {

// Sets, and maps of the elements of containers.
constexpr char CONTAINERS[] = "containers";  // interfaces
constexpr char SENT[] = "sent";              // interface . address: what may come from where
constexpr char RECEIVED[] = "received";      // interface
constexpr char DENIED[] = "denied";          // interface
constexpr char PORTS[] = "ports";            // of the host -> address . port
constexpr char RULES[] = "rules";            // interface -> jump to the container's chain
constexpr char EXTERNAL[] = "external";      // addresses of the host
constexpr char ALLOWED[] = "allow_networks";

struct AllowSet {
  // interface . network . protocol . port; protocol 0 and port 0 are any.
  const char* name;
  uint32_t bits;  // of the network
};
constexpr AllowSet ALLOW_SETS[] = {
    {"allow_32", 32}, {"allow_24", 24}, {"allow_16", 16}, {"allow_8", 8}, {"allow_0", 0}};

void addServerTable(NftBatch& batch, const NetworkPolicy& policy);

std::vector<Ipv4Range> allowedForAll(const NetworkPolicy& policy);
// network.allow_networks, sorted and merged. Networks that reach beyond the pool do not include it:
// containers reach one another only where an entry within the pool says so.

}  // namespace warden::privhelper
