#include "frontend/port-pool.h"

#include <algorithm>
#include <cstdio>

namespace warden::frontend {

namespace {

constexpr uint32_t LARGEST_PORT = 65535;
constexpr uint32_t DEFAULT_LAST_PORT = 65000;
constexpr uint32_t DEFAULT_LAST_EPHEMERAL_PORT = 60999;

uint32_t lastEphemeralPort(kj::StringPtr localPortRange) {
  unsigned first, last;
  if (sscanf(localPortRange.cStr(), "%5u %5u", &first, &last) != 2 || last > LARGEST_PORT) {
    return DEFAULT_LAST_EPHEMERAL_PORT;
  }
  return last;
}

}  // namespace

PortRange portPoolRange(const Config& config, kj::StringPtr localPortRange) {
  uint32_t first = config.port.poolStart.value_or(lastEphemeralPort(localPortRange) + 1);
  uint32_t end =
      (first <= DEFAULT_LAST_PORT || !config.port.poolStart ? DEFAULT_LAST_PORT : LARGEST_PORT) + 1;
  if (config.port.poolSize) end = std::min(first + *config.port.poolSize, LARGEST_PORT + 1);
  first = std::max<uint32_t>(first, config.privhelper.lowestHostPort);
  return {first, end > first ? end - first : 0};
}

Port PortPool::grant(uint16_t port) {
  used.set(port);
  return Port(*this, port);
}

kj::Maybe<Port> PortPool::next() {
  while (cursor < range.first + range.count) {
    uint16_t port = cursor++;
    if (!used.test(port)) return grant(port);
  }
  while (!released.empty()) {
    uint16_t port = released.front();
    released.pop_front();
    queued.reset(port);
    if (!used.test(port)) return grant(port);
  }
  return nullptr;
}

kj::Maybe<Port> PortPool::take(uint16_t port) {
  if (used.test(port)) return nullptr;
  return grant(port);
}

void PortPool::release(uint16_t port) {
  used.reset(port);
  bool inRange = port >= range.first && port < range.first + range.count;
  if (!inRange || queued.test(port)) return;
  queued.set(port);
  released.push_back(port);
}

}  // namespace warden::frontend
