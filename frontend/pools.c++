#include "frontend/pools.h"

#include <algorithm>

namespace warden::frontend {

kj::Maybe<Slot> SlotPool::acquire() {
  if (neverUsed < size) return Slot(*this, neverUsed++);
  if (released.empty()) return nullptr;
  uint32_t number = released.front();
  released.pop_front();
  return Slot(*this, number);
}

kj::Maybe<Slot> SlotPool::take(uint32_t index) {
  if (index >= size) return nullptr;
  while (neverUsed <= index)
    released.push_back(neverUsed++);
  auto found = std::find(released.begin(), released.end(), index);
  if (found == released.end()) return nullptr;
  released.erase(found);
  return Slot(*this, index);
}

void Share::keep(uint64_t less) {
  if (less >= amount) return;
  budget.left += amount - less;
  amount = less;
}

kj::Maybe<Share> Budget::take(uint64_t amount) {
  if (left < int64_t(amount)) return nullptr;
  return owe(amount);
}

Share Budget::owe(uint64_t amount) {
  left -= amount;
  return Share(*this, amount);
}

}  // namespace warden::frontend
