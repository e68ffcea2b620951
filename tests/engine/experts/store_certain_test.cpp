// Routes known before their layer runs: their experts are loaded at full speed behind what the running layer waits for,
// those that are there stay, and what was announced is what the layer then uses.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/engine/experts/held_queue.h"
#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using made::key;
using made::StoreDriver;

class StoreCertain : public ::testing::Test {
 protected:
  void start(std::uint64_t slots, std::size_t depth = 1, bool evict = false) {
    driver_ = std::make_unique<StoreDriver>(
        disk_, StoreOptions{.budget_bytes = slots * kDirectPage, .policy = "lru", .evict_at_release = evict},
        std::make_unique<HeldQueue>(held_, depth));
  }
  ExpertStore& store() { return *driver_->store; }
  void announce(std::int32_t layer, const std::vector<std::int32_t>& experts, bool load = true) {
    store().announce(LayerId{layer}, experts, load);
  }
  void loaded(std::uint64_t loads) {
    while (store().stats().transfer.loads < loads) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

  made::Disk disk_{{.count = 16, .pages = {1, 1, 1, 1}, .top_k = 2}};
  std::shared_ptr<HeldReads> held_ = std::make_shared<HeldReads>();
  std::unique_ptr<StoreDriver> driver_;
};

TEST_F(StoreCertain, WhatArrivedInTimeIsAHit) {
  start(16);
  held_->let_all();
  ASSERT_TRUE(driver_->run(1, {5}).ok());
  announce(1, {4, 5, 9});
  loaded(3);
  ASSERT_TRUE(driver_->run(1, {4, 5, 9}).ok());
  const StoreStats stats = store().stats();
  EXPECT_EQ(stats.certain, 3u);
  EXPECT_EQ(stats.certain_right, 3u);
  EXPECT_EQ(stats.certain_hints, 2u) << "one was there";
  EXPECT_EQ(stats.certain_useful, 2u);
  EXPECT_EQ(stats.certain_late, 0u);
  EXPECT_EQ(stats.hits, 3u);
  EXPECT_EQ(stats.hints, 0u);
  EXPECT_EQ(stats.certain_bytes.asked, 2 * kDirectPage);
  EXPECT_EQ(stats.certain_bytes.useful, 2 * kDirectPage);
}

TEST_F(StoreCertain, WhatIsUnderWayIsJoined) {
  start(16);
  announce(1, {4, 6});
  held_->asked(1);
  driver_->begin(1, {4, 6});
  held_->let_all();
  ASSERT_TRUE(driver_->finish().ok());
  const StoreStats stats = store().stats();
  EXPECT_EQ(stats.certain_hints, 2u);
  EXPECT_EQ(stats.certain_late, 2u);
  EXPECT_EQ(stats.certain_useful, 0u);
  EXPECT_EQ(stats.late, 2u);
  EXPECT_EQ(stats.certain_bytes.late, 2 * kDirectPage);
  EXPECT_EQ(stats.certain_bytes.useful + stats.certain_bytes.wasted, 0u);
  EXPECT_EQ(held_->offsets.size(), 2u);
}

// Reads that a layer waits for share the disk with no others; then those of the next fill the queue, unlike guesses.
TEST_F(StoreCertain, FillTheQueueAfterTheRunningLayer) {
  start(16, 4);
  driver_->begin(0, {0, 1, 2});
  held_->asked(3);
  announce(1, {4, 6, 7, 8});
  held_->let(1);
  loaded(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(held_->asked(3).size(), 3u) << "two are in flight that the layer waits for";
  held_->let(2);
  EXPECT_EQ(held_->asked(7).size(), 7u);
  EXPECT_EQ(held_->most_in_flight, 4u);
  // They are waited for in their turn, and what is announced then comes after them.
  ASSERT_TRUE(driver_->finish().ok());
  driver_->begin(1, {4, 6, 7, 8});
  announce(2, {3});
  held_->let_all();
  ASSERT_TRUE(driver_->finish().ok());
  ASSERT_TRUE(driver_->run(2, {3}).ok());
  EXPECT_EQ(held_->offsets.back(), disk_.extent(key(2, 3)).offset);
  EXPECT_GE(store().stats().certain_late, 4u) << "all of layer 1 were on their way";
}

// An expert that is there and is announced is not evicted for another of the same layer.
TEST_F(StoreCertain, WhatIsThereStays) {
  start(4);
  held_->let_all();
  for (const std::int32_t e : {0, 1, 2, 3}) ASSERT_TRUE(driver_->run(1, {e}).ok());
  announce(1, {0, 8, 9});
  loaded(6);
  EXPECT_TRUE(store().resident(key(1, 0))) << "the least recently used of all";
  ASSERT_TRUE(driver_->run(1, {0, 8, 9}).ok());
  EXPECT_EQ(store().stats().transfer.loads, 6u);
}

// The least budget: slots come free as the running layer gives them back, and the loads begin then.
TEST_F(StoreCertain, WaitForSlotsOfTheRunningLayer) {
  start(3);
  held_->let_all();
  driver_->begin(0, {0, 1});
  announce(1, {4, 5});
  EXPECT_EQ(store().stats().certain_hints, 1u);
  ASSERT_TRUE(driver_->finish().ok());
  EXPECT_EQ(store().stats().certain_hints, 2u);
  ASSERT_TRUE(driver_->run(1, {4, 5}).ok());
  EXPECT_EQ(store().stats().transfer.loads, 4u);
  EXPECT_EQ(store().stats().certain_useful + store().stats().certain_late, 2u);
}

// Nor do they take slots from a layer that waits for some, and more than fit come in waves.
TEST_F(StoreCertain, MoreThanFitComeInWaves) {
  start(6);
  held_->let_all();
  driver_->begin(0, made::first_experts(16));
  announce(1, made::first_experts(16));
  EXPECT_EQ(store().stats().certain_hints, 0u);
  ASSERT_TRUE(driver_->finish().ok());
  EXPECT_GT(store().stats().certain_hints, 0u);
  ASSERT_TRUE(driver_->run(1, made::first_experts(16)).ok());
  EXPECT_EQ(store().stats().transfer.loads, 32u) << "nothing was read twice";
  EXPECT_EQ(store().stats().certain_right, 16u);
}

TEST_F(StoreCertain, WithoutLoadingTheyAreCountedOnly) {
  start(16);
  announce(1, {4, 6}, false);
  driver_->begin(1, {4, 7});
  held_->let_all();
  ASSERT_TRUE(driver_->finish().ok());
  EXPECT_EQ(store().stats().certain, 2u);
  EXPECT_EQ(store().stats().certain_right, 1u) << "a wrong announcement shows";
  EXPECT_EQ(store().stats().certain_hints, 0u);
  EXPECT_EQ(store().stats().misses, 2u);
}

TEST_F(StoreCertain, AGivenUpStepForgetsThem) {
  start(4);
  held_->let_all();
  announce(1, {4, 5, 6, 7});
  loaded(4);
  for (const std::int32_t e : {1, 2, 3}) ASSERT_TRUE(driver_->run(0, {e}).ok());
  EXPECT_EQ(store().stats().certain_right, 0u);
  announce(2, {4});
  announce(3, {5});
  EXPECT_EQ(store().stats().certain_bytes.wasted, 4 * kDirectPage);
  ASSERT_TRUE(driver_->run(3, {5}).ok());
  EXPECT_EQ(store().stats().certain_right, 1u);
}

TEST_F(StoreCertain, AFailedLoadIsReadAgainWhenItIsNeeded) {
  start(16);
  disk_.faults.set(Fault::kIoError, 1);
  announce(1, {4});
  held_->let_all();
  while (store().stats().transfer.failures == 0) std::this_thread::yield();
  disk_.faults.set(Fault::kNone, 1);
  ASSERT_TRUE(driver_->run(1, {4}).ok()) << "nobody waited for it: no step fails";
  EXPECT_EQ(store().stats().certain_useful + store().stats().certain_late, 0u);
}

// The next layer's experts come while the leases of the one before are given back and spoiled.
TEST_F(StoreCertain, GoTogetherWithEvictionAtRelease) {
  start(5, 2, true);
  held_->let_all();
  for (int step = 0; step < 20; ++step) {
    for (std::int32_t layer = 0; layer < 4; ++layer) {
      const std::int32_t first = (step * 3 + layer * 5) % 15;
      driver_->begin(layer, {first, first + 1});
      const std::int32_t next = (step * 3 + (layer + 1) * 5) % 15;
      if (layer < 3) announce(layer + 1, {next, next + 1});
      ASSERT_TRUE(driver_->finish().ok());
    }
  }
  EXPECT_EQ(store().stats().certain, 120u);
  EXPECT_EQ(store().stats().certain_right, 120u);
  EXPECT_EQ(store().stats().transfer.loads, 160u);
}

}  // namespace
}  // namespace foregate
