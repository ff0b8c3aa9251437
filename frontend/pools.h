#pragma once
// What containers draw from.

#include <kj/common.h>
#include <stdint.h>

#include <deque>
#include <utility>

namespace warden::frontend {

class SlotPool;

class Slot {
  // One index of the pool, given back by its destructor.

 public:
  Slot(Slot&& other) : pool(other.pool), number(other.number) { other.pool = nullptr; }
  Slot& operator=(Slot&& other);
  ~Slot() { release(); }
  KJ_DISALLOW_COPY(Slot);

  uint32_t index() const { return number; }

 private:
  friend class SlotPool;
  Slot(SlotPool& pool, uint32_t number) : pool(&pool), number(number) {}

  SlotPool* pool;
  uint32_t number;

  void release();
};

class SlotPool {
  // Indexes 0 .. size-1. The one released longest ago is handed out first, so that ids rest as long
  // as possible before another container has them.

 public:
  explicit SlotPool(uint32_t size) : size(size) {}
  KJ_DISALLOW_COPY(SlotPool);

  kj::Maybe<Slot> acquire();
  // None when all are in use. The pool must outlive the slot.

 private:
  friend class Slot;
  uint32_t size;
  uint32_t neverUsed = 0;  // this one and all above
  std::deque<uint32_t> released;
};

class Budget;

class Share {
  // An amount of a budget, given back by its destructor.

 public:
  Share(Share&& other) : budget(other.budget), amount(std::exchange(other.amount, 0)) {}
  ~Share() { keep(0); }
  KJ_DISALLOW_COPY(Share);

  void keep(uint64_t less);
  // Gives back what is more than `less`.

 private:
  friend class Budget;
  Share(Budget& budget, uint64_t amount) : budget(budget), amount(amount) {}

  Budget& budget;
  uint64_t amount;
};

class Budget {
  // Counts what there is a limited amount of.

 public:
  explicit Budget(uint64_t size) : left(size) {}
  KJ_DISALLOW_COPY(Budget);

  kj::Maybe<Share> take(uint64_t amount);
  // None when less than that is left. The budget must outlive the share.

 private:
  friend class Share;
  uint64_t left;
};

}  // namespace warden::frontend
