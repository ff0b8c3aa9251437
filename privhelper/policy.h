#pragma once
// What the root-owned configuration grants. Every request of the frontend is held against it.

#include <kj/string.h>
#include <stdint.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "base/access.h"
#include "base/config.h"
#include "base/ipv4.h"

namespace warden::privhelper {

constexpr uint32_t IDS_PER_CONTAINER = 65536;

struct NetworkPolicy {
  std::string serverName;  // tells this server's interfaces and rules from those of another
  uint32_t poolStart;      // of /30 networks; host byte order
  uint32_t poolSize;
  uint32_t mtu;  // bytes
  std::vector<Ipv4Range> allowNetworks;
  bool allowHostAccess;
  bool allowIpv6;

  uint32_t hostAddress(uint32_t index) const { return poolStart + 4 * index + 1; }
  uint32_t containerAddress(uint32_t index) const { return poolStart + 4 * index + 2; }
  Ipv4Range pool() const { return {poolStart, poolStart + 4 * poolSize - 1}; }
};

struct Policy {
  uint32_t slotCount;       // containers at once
  uint32_t vcapUidStart;    // vcap of slot n is vcapUidStart + n, in the container and on the host
  uint32_t idRangeStart;    // root of slot n is idRangeStart + n * IDS_PER_CONTAINER on the host
  uint32_t pidsLimit;       // 0: none
  uint16_t lowestHostPort;  // that a container may have mapped to it
  uid_t frontendUid;
  gid_t frontendGid;
  NetworkPolicy network;
  AccessPolicy access;
  std::vector<Profile> profiles;  // as in the configuration; never empty

  uint32_t vcapUid(uint32_t slot) const { return vcapUidStart + slot; }
  uint32_t rootUid(uint32_t slot) const { return idRangeStart + slot * IDS_PER_CONTAINER; }
  uint32_t profileOf(const Grant& grant) const;
  // Its place in `profiles`.
};

Policy policyFrom(const Config& config, const std::string& fileName);
// Looks up `privhelper.user`, and who the access rules name. Throws ConfigError when there is no
// such user, or it is root.

}  // namespace warden::privhelper
