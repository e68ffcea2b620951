// Loads ahead of use: joined with the demand that comes meanwhile, counted as useful, late or wasted, bounded, and
// never in the way of the layer that runs.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/engine/experts/held_queue.h"
#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using made::key;
using made::StoreDriver;

class StoreHints : public ::testing::Test {
 protected:
  void start(std::uint64_t slots, std::size_t depth = 1) {
    driver_ = std::make_unique<StoreDriver>(disk_, StoreOptions{.budget_bytes = slots * kDirectPage, .policy = "lru"},
                                            std::make_unique<HeldQueue>(held_, depth));
  }
  ExpertStore& store() { return *driver_->store; }
  void expect_bytes(const HintBytes& want) {
    const HintBytes bytes = store().stats().hint_bytes;
    EXPECT_EQ(bytes.asked, want.asked);
    EXPECT_EQ(bytes.useful, want.useful);
    EXPECT_EQ(bytes.late, want.late);
    EXPECT_EQ(bytes.wasted, want.wasted);
  }
  void hint(const std::vector<ExpertKey>& keys) { store().prefetch(keys); }
  // An expert on its way is seen to be there when a layer begins: these use nothing.
  void arrive(ExpertKey key) {
    for (int i = 0; i < 20'000 && !store().resident(key); ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      ASSERT_TRUE(driver_->run(3, {}).ok());
    }
    ASSERT_TRUE(store().resident(key));
  }

  made::Disk disk_{{.count = 16, .pages = {1, 1, 1, 1}, .top_k = 2}};
  std::shared_ptr<HeldReads> held_ = std::make_shared<HeldReads>();
  std::unique_ptr<StoreDriver> driver_;
};

TEST_F(StoreHints, WhatIsThereWhenItsLayerRunsIsAHit) {
  start(16);
  held_->let_all();
  hint({key(1, 4)});
  arrive(key(1, 4));
  ASSERT_TRUE(driver_->run(1, {4, 5}).ok());
  const StoreStats stats = store().stats();
  EXPECT_EQ(stats.hints, 1u);
  EXPECT_EQ(stats.hints_useful, 1u);
  EXPECT_EQ(stats.hints_wasted, 0u);
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.late, 0u);
  expect_bytes({.asked = kDirectPage, .useful = kDirectPage});
}

// One read serves the hint and the demand that comes while it is under way.
TEST_F(StoreHints, AHintUnderWayIsJoinedByItsDemand) {
  start(16);
  hint({key(1, 4)});
  held_->asked(1);
  driver_->begin(1, {4});
  held_->let_all();
  ASSERT_TRUE(driver_->finish().ok());
  const StoreStats stats = store().stats();
  EXPECT_EQ(stats.hints_useful, 1u);
  EXPECT_EQ(stats.late, 1u);
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.hits, 0u);
  EXPECT_EQ(held_->offsets.size(), 1u);
  expect_bytes({.asked = kDirectPage, .late = kDirectPage});
}

TEST_F(StoreHints, WhatItsLayerDoesNotUseIsWastedAndMayGo) {
  start(8);
  held_->let_all();
  hint({key(1, 4)});
  arrive(key(1, 4));
  for (std::int32_t e = 0; e < 12; ++e) ASSERT_TRUE(driver_->run(0, {e}).ok());
  EXPECT_TRUE(store().resident(key(1, 4))) << "kept until its layer has run";
  ASSERT_TRUE(driver_->run(1, {5}).ok());
  EXPECT_EQ(store().stats().hints_wasted, 1u);
  EXPECT_EQ(store().stats().hints_useful, 0u);
  expect_bytes({.asked = kDirectPage, .wasted = kDirectPage});
  EXPECT_FALSE(store().resident(key(1, 4))) << "of least value, it made room for the next";
}

TEST_F(StoreHints, AreBoundedAndPassOverWhatIsHeld) {
  start(16, 2);
  EXPECT_EQ(store().max_hints(), 2u);
  hint({key(1, 0), key(1, 0), key(1, 1), key(1, 2), key(1, 3)});
  EXPECT_EQ(store().stats().hints, 2u);
  hint({key(2, 3)});
  EXPECT_EQ(store().stats().hints, 2u);
  // Used by nobody and still under way: their slots count until they are free.
  held_->asked(2);
  driver_->begin(1, {});
  ASSERT_TRUE(driver_->finish().ok());
  EXPECT_EQ(store().stats().hints_wasted, 2u);
  hint({key(2, 3)});
  EXPECT_EQ(store().stats().hints, 2u);
  held_->let_all();
  arrive(key(1, 0));
  arrive(key(1, 1));
  hint({key(1, 0), key(2, 3)});
  EXPECT_EQ(store().stats().hints, 3u);
}

// Nothing was asked of the disk yet: it is not read, and the slot is free again. One that is wanted again after all is
// read as a demand.
TEST_F(StoreHints, WhatWasNotBegunIsNotRead) {
  for (const bool wanted : {false, true}) {
    held_ = std::make_shared<HeldReads>();
    start(16);
    hint({key(1, 0), key(1, 1)});
    held_->asked(1);
    driver_->begin(1, {});
    ASSERT_TRUE(driver_->finish().ok());
    EXPECT_EQ(store().stats().hints_wasted, 2u);
    driver_->begin(1, wanted ? std::vector<std::int32_t>{1} : std::vector<std::int32_t>{2});
    held_->let_all();
    ASSERT_TRUE(driver_->finish().ok());
    EXPECT_EQ(store().stats().transfer.failures, 0u);
    EXPECT_EQ(store().resident(key(1, 1)), wanted);
    EXPECT_EQ(held_->offsets.size(), 2u) << "the hint that was begun, and the demand";
    expect_bytes({.asked = 2 * kDirectPage, .wasted = kDirectPage});
  }
}

// Its layer did without it while it was being read; another one asked for it before it came.
TEST_F(StoreHints, WhatWasDroppedAndIsAskedForAfterAllIsLate) {
  start(16);
  hint({key(1, 0)});
  held_->asked(1);
  driver_->begin(1, {});
  ASSERT_TRUE(driver_->finish().ok());
  driver_->begin(1, {0});
  held_->let_all();
  ASSERT_TRUE(driver_->finish().ok());
  EXPECT_EQ(held_->offsets.size(), 1u);
  expect_bytes({.asked = kDirectPage, .late = kDirectPage});
}

// A budget of the least size has no slot to spare for what may be needed.
TEST_F(StoreHints, TakeNoSlotFromASmallStore) {
  start(3);
  EXPECT_EQ(store().max_hints(), 0u);
  hint({key(1, 0)});
  EXPECT_EQ(store().stats().hints, 0u);
}

// Nor from a layer that waits for slots: its experts must not be loaded a second time.
TEST_F(StoreHints, TakeNoSlotFromALayerThatWaits) {
  start(8);
  driver_->begin(0, made::first_experts(16));
  hint({key(0, 12), key(1, 2)});
  EXPECT_EQ(store().stats().hints, 0u);
  held_->let_all();
  ASSERT_TRUE(driver_->finish().ok());
  EXPECT_EQ(store().stats().transfer.loads, 16u);
}

TEST_F(StoreHints, AFailedStepForgetsThem) {
  start(16, 4);
  held_->let_all();
  hint({key(1, 1), key(1, 2)});
  arrive(key(1, 1));
  arrive(key(1, 2));
  EXPECT_EQ(store().stats().hints_useful + store().stats().hints_wasted, 0u);
  disk_.bytes()[disk_.extent(key(2, 7)).offset + 9] ^= 1;
  EXPECT_EQ(driver_->run(2, {7}).code(), Code::kDataLoss);
  const StoreStats stats = store().stats();
  EXPECT_EQ(stats.hints_wasted, 2u);
  expect_bytes({.asked = 2 * kDirectPage, .wasted = 2 * kDirectPage});
  hint({key(0, 1), key(0, 2)});
  EXPECT_EQ(store().stats().hints, 4u) << "the next step may hint again";
}

TEST_F(StoreHints, AFailedHintIsReadAgainWhenItIsNeeded) {
  start(16);
  disk_.faults.set(Fault::kIoError, 1);
  hint({key(1, 4)});
  held_->let_all();
  while (store().stats().transfer.failures == 0) std::this_thread::yield();
  disk_.faults.set(Fault::kNone, 1);
  ASSERT_TRUE(driver_->run(0, {1}).ok());
  EXPECT_EQ(store().stats().hints_wasted, 1u);
  ASSERT_TRUE(driver_->run(1, {4}).ok()) << "nobody waited for it: no step fails";
  expect_bytes({.asked = kDirectPage});
}

// A layer failed by an expert of one size while loads for it still hold all slots of the other size.
TEST(StoreFailedLayers, LoadsThatGoOnAreWaitedFor) {
  made::Disk disk({.count = 16, .pages = {1}, .top_k = 2, .more = 1});
  auto held = std::make_shared<HeldReads>();
  const std::uint64_t budget = disk.table().bytes() * 3 / 8;
  StoreDriver driver(disk, {.budget_bytes = budget, .policy = "lru"}, std::make_unique<HeldQueue>(held, 1));
  ASSERT_EQ(driver.store->stats().slots, 6u);
  disk.bytes()[disk.extent(key(0, 0)).offset + 9] ^= 1;
  driver.begin(0, {0, 1, 3, 5});
  held->let(3);  // the damaged one, twice, and what is read while its checksum is taken
  Status failed;
  for (int i = 0; i < 3 && failed.ok(); ++i) failed = driver.store->next().status();
  EXPECT_EQ(failed.code(), Code::kDataLoss);
  EXPECT_EQ(failed.field(), "expert 0 of layer 0");
  driver.begin(0, {7, 9});  // of the size whose slots are all being loaded
  held->let_all();
  ASSERT_TRUE(driver.finish().ok());
  EXPECT_EQ(driver.store->stats().transfer.loads, 5u);
}

// What a failed layer left loading may fail too, of the same bad moment: the layer that waits for it next has not
// failed.
class StoreLeftovers : public ::testing::TestWithParam<UsePhase> {};
INSTANTIATE_TEST_SUITE_P(Phases, StoreLeftovers, ::testing::Values(UsePhase::kDecode, UsePhase::kPrefill));

TEST_P(StoreLeftovers, ALoadThatFailedForAnotherLayerIsBegunAgain) {
  made::Disk disk({.count = 16, .pages = {1}, .top_k = 2});
  auto held = std::make_shared<HeldReads>();
  StoreDriver driver(disk, {.budget_bytes = 8 * kDirectPage, .policy = "lru"}, std::make_unique<HeldQueue>(held, 2));
  disk.faults.set(Fault::kIoError, 1);
  driver.begin(0, {2, 4});
  held->let(3);  // one expert twice, the other once
  EXPECT_EQ(driver.store->next().status().code(), Code::kUnavailable);
  EXPECT_EQ(driver.store->stats().transfer.failures, 1u);
  driver.begin(0, {2, 4}, GetParam());
  held->let(1);  // the other's second turn
  while (driver.store->stats().transfer.failures < 2) std::this_thread::yield();
  disk.faults.set(Fault::kNone, 1);
  held->let_all();
  EXPECT_TRUE(driver.finish().ok());

  disk.faults.set(Fault::kIoError, 1);
  EXPECT_EQ(driver.run(0, {6}).code(), Code::kUnavailable) << "its own load is not begun again";
}

}  // namespace
}  // namespace foregate
