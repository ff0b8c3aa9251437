// The part of the registry that finds containers whose first process does not answer.

#include <spdlog/spdlog.h>

#include "frontend/registry.h"

namespace warden::frontend {

namespace {

// Each is asked once in this time, but of all together not more than one in the shortest: asking
// costs the same with any number of containers.
constexpr auto ROUND = 10 * kj::SECONDS;
constexpr auto SHORTEST = 100 * kj::MILLISECONDS;

}  // namespace

kj::Promise<void> Registry::watch() {
  auto delay = kj::max(SHORTEST, ROUND / kj::max(entries.size(), size_t(1)));
  return services.timer.afterDelay(delay).then([this]() {
    if (!entries.empty()) {
      auto next = entries.upper_bound(lastAsked);
      if (next == entries.end()) next = entries.begin();
      lastAsked = next->first;
      next->second.container->askForSignOfLife();
    }
    return watch();
  });
}

}  // namespace warden::frontend
