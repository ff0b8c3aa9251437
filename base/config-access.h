#pragma once
// The section `access` of the configuration.

#include "base/config-reader.h"

namespace warden {

Config::Access readAccess(ConfigSection section, bool diskQuotaEnabled,
                          const std::vector<Profile>& profiles);

}  // namespace warden
