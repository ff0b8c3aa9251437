// The part of the registry that counts.

#include "frontend/registry.h"

namespace warden::frontend {

RegistryFigures Registry::figures() const {
  RegistryFigures result;
  for (auto& [handle, entry] : entries) {
    auto& container = *entry.container;
    result.containers[static_cast<size_t>(container.state())] += 1;
    result.jobs += container.unfinishedJobs();
    result.silent += container.isSilent();
  }
  result.waiting = turns.waitingCount();
  result.recovering = recovering;
  result.shuttingDown = shuttingDown;
  return result;
}

}  // namespace warden::frontend
