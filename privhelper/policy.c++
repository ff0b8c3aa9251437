#include "privhelper/policy.h"

#include <kj/debug.h>
#include <pwd.h>

namespace warden::privhelper {

uint32_t Policy::profileOf(const Grant& grant) const {
  for (uint32_t i = 0; i < profiles.size(); ++i) {
    if (profiles[i].name == grant.profile) return i;
  }
  KJ_FAIL_ASSERT("a rule names no profile", grant.source.c_str(), grant.profile.c_str());
}

Policy policyFrom(const Config& config, const std::string& fileName) {
  const std::string& name = config.privhelper.user;
  const passwd* user = getpwnam(name.c_str());
  if (user == nullptr) {
    throw ConfigError("privhelper.user: there is no user \"" + name +
                      "\": create it as a system user without a login shell");
  }
  if (user->pw_uid == 0 || user->pw_gid == 0) {
    throw ConfigError("privhelper.user: \"" + name +
                      "\" is root: the frontend must be unprivileged");
  }
  auto inPool = [&](uint64_t id) {
    uint64_t first = config.user.poolStartUid, size = config.user.poolSize;
    uint64_t range = config.privhelper.idRangeStart;
    return (id >= first && id < first + size) ||
           (id >= range && id < range + size * IDS_PER_CONTAINER);
  };
  if (inPool(user->pw_uid) || inPool(user->pw_gid)) {
    throw ConfigError("privhelper.user: the ids of \"" + name +
                      "\" are among those of containers: move user.pool_start_uid or "
                      "privhelper.id_range_start");
  }
  return Policy{
      .slotCount = config.user.poolSize,
      .vcapUidStart = config.user.poolStartUid,
      .idRangeStart = config.privhelper.idRangeStart,
      .pidsLimit = config.privhelper.pidsLimit,
      .lowestHostPort = config.privhelper.lowestHostPort,
      .frontendUid = user->pw_uid,
      .frontendGid = user->pw_gid,
      .network =
          {
              .serverName = config.privhelper.cgroupParent,
              .poolStart = config.network.poolStart,
              .poolSize = config.network.poolSize,
              .mtu = config.network.mtu,
              .allowNetworks = config.network.allowNetworks,
              .allowHostAccess = config.network.allowHostAccess,
              .allowIpv6 = config.network.allowIpv6,
          },
      .access = AccessPolicy(config.access, fileName),
      .profiles = config.profiles,
  };
}

}  // namespace warden::privhelper
