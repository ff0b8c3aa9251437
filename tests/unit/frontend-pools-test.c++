#include <gtest/gtest.h>
#include <kj/debug.h>
#include <kj/vector.h>

#include <optional>

#include "frontend/pools.h"

namespace warden::frontend {
namespace {

TEST(SlotPoolTest, handsOutEachIndexOnce) {
  SlotPool pool(3);
  auto a = KJ_ASSERT_NONNULL(pool.acquire());
  auto b = KJ_ASSERT_NONNULL(pool.acquire());
  auto c = KJ_ASSERT_NONNULL(pool.acquire());
  EXPECT_EQ(a.number(), 0u);
  EXPECT_EQ(b.number(), 1u);
  EXPECT_EQ(c.number(), 2u);
  EXPECT_TRUE(pool.acquire() == nullptr);
}

TEST(SlotPoolTest, handsOutTheIndexReleasedLongestAgo) {
  SlotPool pool(3);
  kj::Vector<Slot> slots;
  for (int i = 0; i < 3; ++i)
    slots.add(KJ_ASSERT_NONNULL(pool.acquire()));
  { auto first = kj::mv(slots[2]); }
  { auto second = kj::mv(slots[0]); }
  EXPECT_EQ(KJ_ASSERT_NONNULL(pool.acquire()).number(), 2u);
  // That one was given back at once, behind the other.
  EXPECT_EQ(KJ_ASSERT_NONNULL(pool.acquire()).number(), 0u);
}

TEST(SlotPoolTest, prefersAnIndexThatWasNeverUsed) {
  SlotPool pool(2);
  { auto used = KJ_ASSERT_NONNULL(pool.acquire()); }
  EXPECT_EQ(KJ_ASSERT_NONNULL(pool.acquire()).number(), 1u);
}

TEST(SlotPoolTest, keepsTheIndexWhenASlotIsMoved) {
  SlotPool pool(1);
  std::optional<Slot> kept;
  {
    auto slot = KJ_ASSERT_NONNULL(pool.acquire());
    kept.emplace(kj::mv(slot));
  }
  EXPECT_TRUE(pool.acquire() == nullptr);
  kept.reset();
  EXPECT_TRUE(pool.acquire() != nullptr);
}

}  // namespace
}  // namespace warden::frontend
