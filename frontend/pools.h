#pragma once
// What containers draw from.

#include <kj/common.h>
#include <stdint.h>

#include <deque>
#include <utility>

namespace warden::frontend {

template <typename Pool>
class Lease {
  // One number of a pool, given back by its destructor. The pool must outlive it.

 public:
  Lease(Lease&& other) : pool(std::exchange(other.pool, nullptr)), value(other.value) {}
  Lease& operator=(Lease&& other) {
    release();
    pool = std::exchange(other.pool, nullptr);
    value = other.value;
    return *this;
  }
  ~Lease() { release(); }
  KJ_DISALLOW_COPY(Lease);

  uint32_t number() const { return value; }

 protected:
  friend Pool;
  Lease(Pool& pool, uint32_t value) : pool(&pool), value(value) {}

  Pool* pool;  // null: moved from

 private:
  uint32_t value;

  void release() {
    if (pool != nullptr) pool->release(value);
  }
};

class SlotPool;
using Slot = Lease<SlotPool>;

class SlotPool {
  // Indexes 0 .. size-1. The one released longest ago is handed out first, so that ids rest as long
  // as possible before another container has them.

 public:
  explicit SlotPool(uint32_t size) : size(size) {}
  KJ_DISALLOW_COPY(SlotPool);

  kj::Maybe<Slot> acquire();
  // None when all are in use.

  kj::Maybe<Slot> take(uint32_t index);
  // This one, of a container that was there before. None: it is in use, or not of this pool. Takes
  // time that grows with the size of the pool.

 private:
  friend Slot;
  uint32_t size;
  uint32_t neverUsed = 0;  // this one and all above
  std::deque<uint32_t> released;

  void release(uint32_t index) { released.push_back(index); }
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

  Share owe(uint64_t amount);
  // Also when less is left: of what is there already. Nobody else gets any until it is paid back.

 private:
  friend class Share;
  int64_t left;  // less than 0: owed
};

}  // namespace warden::frontend
