#pragma once
// The sections of the configuration that say what containers are given: `network`, `port` and
// `user`.

#include "base/config-reader.h"

namespace warden {

Config::Network readNetwork(ConfigSection section);
Config::Port readPort(ConfigSection section);
Config::User readUser(ConfigSection section);

}  // namespace warden
