#pragma once
// What the root-owned configuration grants. Every request of the frontend is held against it.

#include <kj/string.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/config.h"

namespace warden::privhelper {

constexpr uint32_t IDS_PER_CONTAINER = 65536;

struct Policy {
  uint32_t slotCount;       // containers at once
  uint32_t vcapUidStart;    // vcap of slot n is vcapUidStart + n, in the container and on the host
  uint32_t idRangeStart;    // root of slot n is idRangeStart + n * IDS_PER_CONTAINER on the host
  uint32_t pidsLimit;       // 0: none
  uint32_t networkCount;    // /30 networks in the pool
  uint16_t lowestHostPort;  // that a container may have mapped to it
  uid_t frontendUid;
  gid_t frontendGid;

  uint32_t vcapUid(uint32_t slot) const { return vcapUidStart + slot; }
  uint32_t rootUid(uint32_t slot) const { return idRangeStart + slot * IDS_PER_CONTAINER; }
};

Policy policyFrom(const Config& config);
// Looks up `privhelper.user`. Throws ConfigError when there is no such user, or it is root.

}  // namespace warden::privhelper
