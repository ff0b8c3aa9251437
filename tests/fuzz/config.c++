// The configuration parser: any bytes give a configuration or a ConfigError with the file's name.

#include "base/config.h"

#include <stdlib.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    auto config = warden::parseConfig(std::string(reinterpret_cast<const char*>(data), size), "w");
    // Facts that the helper relies on.
    const auto& users = config.user;
    uint64_t idsEnd = config.privhelper.idRangeStart + uint64_t(users.poolSize) * 65536;
    if (users.poolStartUid == 0 || users.poolStartUid + users.poolSize > 65534 ||
        config.privhelper.idRangeStart < 65536 || idsEnd > uint64_t(1) << 31 ||
        config.server.containerDepotPath[0] != '/' || config.server.containerRootfsPath[0] != '/') {
      abort();
    }
  } catch (const warden::ConfigError& e) {
    if (!std::string(e.what()).starts_with("w:")) abort();
  }
  return 0;
}
