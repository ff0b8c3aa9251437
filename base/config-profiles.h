#pragma once
// The section `profiles` of the configuration.

#include "base/config-reader.h"

namespace warden {

std::vector<Profile> readProfiles(ConfigSection section);
// The first is DEFAULT_PROFILE.

std::string readProfileName(ConfigSection& section, const std::string& key,
                            const std::vector<Profile>& profiles);
// Of one that there is; DEFAULT_PROFILE where the key is absent.

}  // namespace warden
