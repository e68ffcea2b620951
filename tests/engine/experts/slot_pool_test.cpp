// Slots: what they hold, that each expert's memory is its own, and what must not be done with them.
#include "engine/experts/slot_pool.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/engine/experts/made_experts.h"

namespace foregate {
namespace {

using made::key;

SlotPool pool(std::size_t count, std::uint64_t bytes = 2 * kDirectPage) {
  made::HeapDevice device;
  return SlotPool(device.allocate(count * bytes + kDirectPage), bytes, count);
}

TEST(SlotPoolTest, SlotsLieApartAtWholePages) {
  const SlotPool slots = pool(5);
  for (std::size_t i = 0; i < slots.count(); ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(slots.data(i)) % kDirectPage, 0u);
    EXPECT_EQ(slots.data(i), slots.data(0) + i * slots.slot_bytes());
  }
}

TEST(SlotPoolTest, GoesThroughItsStates) {
  SlotPool slots = pool(3);
  std::set<std::size_t> taken;
  for (std::int32_t i = 0; i < 3; ++i) {
    const auto slot = slots.take_empty();
    ASSERT_TRUE(slot.has_value());
    EXPECT_TRUE(taken.insert(*slot).second);
    slots.begin(*slot, key(0, i), i == 1);
    EXPECT_EQ(slots.slot(*slot).state, SlotState::kLoading);
    EXPECT_EQ(slots.slot(*slot).key, key(0, i));
  }
  EXPECT_FALSE(slots.take_empty().has_value());
  EXPECT_EQ(slots.used_slots(), 3u);
  EXPECT_EQ(slots.ahead(), 3u) << "loading and awaited by nobody";
  for (const std::size_t slot : taken) slots.ready(slot);
  EXPECT_EQ(slots.ahead(), 1u) << "a hint is kept until its layer has run";
  for (const std::size_t slot : taken) slots.used(slot);
  EXPECT_EQ(slots.ahead(), 0u);
  slots.clear(1);
  EXPECT_EQ(slots.used_slots(), 2u);
  EXPECT_EQ(slots.take_empty(), std::optional<std::size_t>(1));
}

TEST(SlotPoolTest, GenerationsTellWhatASlotHeld) {
  SlotPool slots = pool(1);
  std::uint64_t last = 0;
  for (std::int32_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(slots.take_empty().has_value());
    slots.begin(0, key(0, i), false);
    EXPECT_GT(slots.slot(0).generation, last);
    last = slots.slot(0).generation;
    slots.ready(0);
    slots.clear(0);
  }
}

using SlotPoolDeathTest = ::testing::Test;

TEST(SlotPoolDeathTest, BrokenUseIsFatal) {
  SlotPool slots = pool(1);
  ASSERT_TRUE(slots.take_empty().has_value());
  EXPECT_DEATH(slots.unpin(0), "pins > 0");
  EXPECT_DEATH(slots.ready(0), "kLoading");
  slots.begin(0, key(0, 1), false);
  EXPECT_DEATH(slots.begin(0, key(0, 2), false), "kEmpty");
  slots.ready(0);
  slots.pin(0);
  EXPECT_DEATH(slots.clear(0), "pins == 0");
}

}  // namespace
}  // namespace foregate
