#include "frontend/pools.h"

namespace warden::frontend {

kj::Maybe<Slot> SlotPool::acquire() {
  if (neverUsed < size) return Slot(*this, neverUsed++);
  if (released.empty()) return nullptr;
  uint32_t number = released.front();
  released.pop_front();
  return Slot(*this, number);
}

void Share::keep(uint64_t less) {
  if (less >= amount) return;
  budget.left += amount - less;
  amount = less;
}

kj::Maybe<Share> Budget::take(uint64_t amount) {
  if (amount > left) return nullptr;
  left -= amount;
  return Share(*this, amount);
}

}  // namespace warden::frontend
