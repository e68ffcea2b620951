// Slots: what they hold, that each expert's memory is its own, and what must not be done with them.
#include "engine/experts/slot_pool.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

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

// Values drawn anew at each used(); many are equal.
class DrawnValues final : public EvictionPolicy {
 public:
  explicit DrawnValues(std::uint32_t seed) : random_(seed), values_(64) {}
  std::string_view name() const override { return "drawn"; }
  void used(const LayerUse&) override {
    for (double& value : values_) value = static_cast<double>(random_() % 8);
  }
  double keep_value(ExpertKey key) const override { return values_[static_cast<std::size_t>(key.expert.value)]; }

 private:
  std::mt19937 random_;
  std::vector<double> values_;
};

std::optional<std::size_t> by_looking_at_all(const SlotPool& slots, const EvictionPolicy& policy) {
  std::optional<std::size_t> least;
  const auto rank = [&](std::size_t i) { return std::pair(policy.keep_value(slots.slot(i).key), slots.slot(i).key); };
  for (std::size_t i = 0; i < slots.count(); ++i) {
    const Slot& slot = slots.slot(i);
    if (slot.state != SlotState::kReady || slot.pins > 0 || slot.hinted) continue;
    if (!least || rank(i) < rank(*least)) least = i;
  }
  return least;
}

TEST(SlotPoolTest, GivesUpTheLeastOfAllWhateverHappenedSince) {
  std::size_t found = 0;
  std::size_t none = 0;
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    SlotPool slots = pool(6);
    DrawnValues policy(seed);
    std::mt19937 random(seed);
    std::int32_t next = 0;
    for (int turn = 0; turn < 2000; ++turn) {
      const std::size_t at = random() % slots.count();
      const Slot& slot = slots.slot(at);
      switch (random() % 8) {
        case 0:
          if (!slots.has_empty()) break;
          slots.begin(*slots.take_empty(), key(0, next++ % 64), random() % 3 == 0);
          break;
        case 1:
          if (slot.state == SlotState::kLoading) slots.ready(at);
          break;
        case 2:
          if (slot.state != SlotState::kEmpty) slots.pin(at);
          break;
        case 3:
        case 4:
          if (slot.pins > 0) slots.unpin(at);
          break;
        case 5: slots.used(at); break;
        case 6:
          if (random() % 4 != 0) break;
          policy.used({});
          slots.values_changed();
          break;
        default: {
          const auto least = slots.least_valuable(policy);
          ASSERT_EQ(least, by_looking_at_all(slots, policy)) << "seed " << seed << " turn " << turn;
          ++(least ? found : none);
          if (least && random() % 2 == 0) slots.clear(*least);
        }
      }
    }
  }
  EXPECT_GT(found, 1000u);
  EXPECT_GT(none, 1000u);
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
