#include "frontend/network-pool.h"

namespace warden::frontend {

namespace {

constexpr uint32_t ADDRESSES_PER_NETWORK = 4;

}  // namespace

ContainerAddresses Network::addresses() const {
  return pool->addressesOf(number());
}

NetworkPool::NetworkPool(const Config::Network& config, const kj::Timer& timer)
    : timer(timer),
      start(config.poolStart),
      size(config.poolSize),
      delay(config.releaseDelay * kj::SECONDS) {}

ContainerAddresses NetworkPool::addressesOf(uint32_t index) const {
  uint32_t network = start + index * ADDRESSES_PER_NETWORK;
  return {network + 1, network + 2};
}

kj::Maybe<Network> NetworkPool::acquire() {
  while (cursor < size) {
    uint32_t index = cursor++;
    if (ahead.erase(index) == 0) return Network(*this, index);
  }
  return wake(resting.begin());
}

kj::Maybe<Network> NetworkPool::acquire(uint32_t address) {
  if (address < start) return nullptr;
  uint32_t index = (address - start) / ADDRESSES_PER_NETWORK;
  if (index >= size) return nullptr;
  if (index >= cursor && ahead.insert(index).second) return Network(*this, index);
  auto found = restingByIndex.find(index);
  if (found == restingByIndex.end()) return nullptr;
  return wake(found->second);
}

kj::Maybe<Network> NetworkPool::wake(std::list<Resting>::iterator found) {
  if (found == resting.end() || timer.now() - found->since < delay) return nullptr;
  uint32_t index = found->index;
  restingByIndex.erase(index);
  resting.erase(found);
  return Network(*this, index);
}

void NetworkPool::release(uint32_t index) {
  restingByIndex.emplace(index, resting.insert(resting.end(), {index, timer.now()}));
}

}  // namespace warden::frontend
