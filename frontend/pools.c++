#include "frontend/pools.h"

namespace warden::frontend {

Slot& Slot::operator=(Slot&& other) {
  release();
  pool = other.pool;
  number = other.number;
  other.pool = nullptr;
  return *this;
}

void Slot::release() {
  if (pool != nullptr) pool->released.push_back(number);
  pool = nullptr;
}

kj::Maybe<Slot> SlotPool::acquire() {
  if (neverUsed < size) return Slot(*this, neverUsed++);
  if (released.empty()) return nullptr;
  uint32_t number = released.front();
  released.pop_front();
  return Slot(*this, number);
}

}  // namespace warden::frontend
