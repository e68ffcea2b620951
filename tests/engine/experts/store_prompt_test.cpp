// Prompts that read ahead of their layers: what comes early, what it costs when it was wrong, that it takes few slots,
// and that a replay counts the same.
#include <gtest/gtest.h>

#include "engine/base/rng.h"
#include "engine/experts/replay.h"
#include "tests/engine/experts/held_queue.h"
#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using made::key;
using made::StoreDriver;

MadeUse prompt(std::int32_t layer, std::vector<std::int32_t> experts, std::int32_t rows = 32) {
  MadeUse use{.step = 1, .layer = layer, .phase = UsePhase::kPrefill, .experts = std::move(experts), .rows = {}};
  use.rows.assign(use.experts.size(), rows);
  return use;
}

StoreOptions slots_of(std::uint64_t slots, const char* policy = "lru", bool ahead = true) {
  return {.budget_bytes = slots * kDirectPage, .policy = policy, .read_prompts_ahead = ahead};
}

class StorePrompt : public ::testing::Test {
 protected:
  void start(const StoreOptions& options, std::size_t depth = 2) {
    driver_ = std::make_unique<StoreDriver>(disk_, options, std::make_unique<HeldQueue>(held_, depth));
  }
  ExpertStore& store() { return *driver_->store; }
  StoreStats stats() { return store().stats(); }
  std::uint64_t offset(std::int32_t layer, std::int32_t expert) { return disk_.extent(key(layer, expert)).offset; }

  made::Disk disk_{{.count = 16, .pages = {1, 0, 1, 1}, .top_k = 2}};
  std::shared_ptr<HeldReads> held_ = std::make_shared<HeldReads>();
  std::unique_ptr<StoreDriver> driver_;
};

// The reads of the next layer follow those of the running one before it has ended, in order, over a dense layer
// between.
TEST_F(StorePrompt, TheNextLayerIsReadWhileOneRuns) {
  start(slots_of(32));
  held_->let_all();
  store().begin(prompt(0, {3, 4, 5}).use());
  const auto offsets = held_->asked(8);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(offsets[i], offset(0, 3 + static_cast<std::int32_t>(i)));
  for (std::size_t i = 3; i < 8; ++i) EXPECT_EQ(offsets[i], offset(2, static_cast<std::int32_t>(i) - 3));
  EXPECT_EQ(stats().ahead, 5u) << "a window of eight";
  EXPECT_EQ(stats().misses, 3u);
  while (true) {
    auto leases = store().next();
    ASSERT_TRUE(leases.ok());
    if (leases->empty()) break;
  }
  EXPECT_EQ(stats().ahead, 8u) << "as leases come back, most_ahead() of them";
  ASSERT_TRUE(driver_->run(prompt(2, made::first_experts(16))).ok());
  EXPECT_EQ(stats().ahead_useful, 8u);
  EXPECT_EQ(stats().ahead_wasted, 0u);
  EXPECT_EQ(stats().misses, 19u) << "what was read for the step is no hit";
  EXPECT_EQ(stats().hits, 0u);
  EXPECT_GE(stats().transfer.loads, 19u) << "and of the last layer some are on their way";
  EXPECT_LE(stats().transfer.loads, 19u + 8u);
}

TEST_F(StorePrompt, OffReadsNothingAhead) {
  start(slots_of(32, "lru", false));
  held_->let_all();
  for (const std::int32_t layer : {0, 2, 3}) ASSERT_TRUE(driver_->run(prompt(layer, {1, 2})).ok());
  EXPECT_EQ(stats().ahead, 0u);
  EXPECT_EQ(stats().transfer.loads, 6u);
}

TEST_F(StorePrompt, DecodeAndShortPromptsReadNothingAhead) {
  start(slots_of(32));
  held_->let_all();
  ASSERT_TRUE(driver_->run(0, {1, 2}).ok());
  ASSERT_TRUE(driver_->run(prompt(2, {1, 2, 3}, 1)).ok());
  EXPECT_EQ(stats().ahead, 0u) << "three rows wake a third of sixteen";
}

// What the layer does not use is not read when its turn has not come, and holds no slot when the layer has ended.
TEST_F(StorePrompt, WhatIsNotUsedIsCancelledAndGoes) {
  start(slots_of(32), 1);
  store().begin(prompt(0, {3}).use());
  held_->let(1);
  auto leases = store().next();
  ASSERT_TRUE(leases.ok());
  leases->clear();
  ASSERT_TRUE(store().next()->empty());
  held_->asked(2);
  ASSERT_EQ(stats().ahead, 8u);
  store().begin(prompt(2, {9, 10}).use());
  EXPECT_EQ(stats().ahead_wasted, 8u);
  held_->let_all();
  ASSERT_TRUE(store().next().ok());
  while (!store().next()->empty()) {
  }
  for (std::int32_t e = 0; e < 8; ++e) EXPECT_FALSE(store().held(key(2, e))) << e;
  EXPECT_LE(stats().transfer.loads, 4u + stats().ahead - 8) << "one of the eight had been asked of the disk";
  EXPECT_EQ(stats().ahead_late + stats().ahead_useful, 0u);
}

// When what comes is not what was expected, it is expected less.
TEST_F(StorePrompt, LearnsThatRowsOfOneTextRouteAlike) {
  start(slots_of(32, "score"));
  held_->let_all();
  for (int i = 0; i < 12; ++i) {
    for (const std::int32_t layer : {0, 2, 3}) ASSERT_TRUE(driver_->run(prompt(layer, {i % 8, 8 + i % 7}, 20)).ok());
  }
  const std::uint64_t ahead = stats().ahead;
  EXPECT_GT(stats().ahead_wasted, 0u);
  for (int i = 0; i < 12; ++i) {
    for (const std::int32_t layer : {0, 2, 3}) ASSERT_TRUE(driver_->run(prompt(layer, {i % 8, 8 + i % 7}, 20)).ok());
  }
  EXPECT_EQ(stats().ahead, ahead);
}

// What is there of the next layer's experts is not given up for others of it.
TEST_F(StorePrompt, KeepsWhatTheNextLayerHas) {
  start(slots_of(16));
  held_->let_all();
  ASSERT_TRUE(driver_->run(0, {3, 4}).ok());
  ASSERT_TRUE(driver_->run(2, {0, 1}).ok());
  ASSERT_TRUE(driver_->run(3, made::first_experts(12)).ok());
  ASSERT_TRUE(driver_->run(prompt(0, {3, 4})).ok());  // now those of layer 2 are the oldest
  EXPECT_EQ(stats().hits, 2u);
  EXPECT_GT(stats().ahead, 0u);
  ASSERT_TRUE(driver_->run(prompt(2, made::first_experts(16))).ok());
  EXPECT_EQ(stats().hits, 4u);
}

TEST_F(StorePrompt, AFailedReadAheadIsReadAgain) {
  for (const bool early : {true, false}) {
    held_ = std::make_shared<HeldReads>();
    start(slots_of(32), 1);
    held_->let(1);
    store().begin(prompt(0, {3}).use());
    ASSERT_EQ(store().next()->size(), 1u);
    disk_.faults.set(Fault::kIoError, 1);
    if (early) held_->let_all();
    while (early && stats().transfer.failures < 8) std::this_thread::yield();
    ASSERT_TRUE(store().next()->empty());
    if (early) disk_.faults.set(Fault::kNone, 1);
    store().begin(prompt(2, made::first_experts(16)).use());
    held_->let_all();
    while (!early && stats().transfer.failures == 0) std::this_thread::yield();
    disk_.faults.set(Fault::kNone, 1);
    std::size_t came = 0;
    while (true) {
      auto leases = store().next();
      ASSERT_TRUE(leases.ok()) << leases.status().to_string();
      if (leases->empty()) break;
      came += leases->size();
      for (const Lease& lease : *leases)
        EXPECT_TRUE(disk_.right(key(2, lease.expert().value), lease.weights().gate.data));
    }
    EXPECT_EQ(came, 16u);
  }
}

// A step given up between layers: nothing stays pinned, and another step finds the store as it should be.
TEST_F(StorePrompt, AGivenUpStepForgetsWhatItRead) {
  start(slots_of(8));
  held_->let_all();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(driver_->run(prompt(0, made::first_experts(8))).ok());
    ASSERT_TRUE(driver_->run(prompt(3, made::first_experts(16))).ok());
    disk_.bytes()[disk_.extent(key(2, 7)).offset + 9] ^= 1;
    ASSERT_TRUE(driver_->run(prompt(0, made::first_experts(8))).ok());
    EXPECT_EQ(driver_->run(prompt(2, made::first_experts(16))).code(), Code::kDataLoss);
    disk_.bytes()[disk_.extent(key(2, 7)).offset + 9] ^= 1;
    for (const std::int32_t layer : {0, 2, 3}) ASSERT_TRUE(driver_->run(layer, made::first_experts(8)).ok());
  }
  EXPECT_EQ(stats().ahead, stats().ahead_useful + stats().ahead_wasted);
}

// Decode steps and prompts of many lengths, whose layers use what rows at random choose.
TEST(StorePromptReplay, CountsTheSame) {
  std::uint64_t wasted = 0;
  std::uint64_t useful = 0;
  for (const char* policy : {"lru", "lfu", "score"}) {
    for (const std::uint64_t slots : {3, 7, 12, 20, 40, 64, 160}) {
      SCOPED_TRACE(std::string(policy) + " " + std::to_string(slots));
      made::Disk disk({.count = 40, .pages = {1, 1, 0, 1, 1}, .top_k = 2});
      StoreDriver driver(disk, slots_of(slots, policy));
      TraceInfo info;
      info.top_k = 2;
      info.experts = disk.table().experts;
      for (const std::int32_t count : info.experts) info.expert_bytes.push_back(count > 0 ? kDirectPage : 0);
      auto replay =
          Replay::create(info, {.policy = policy, .budget_bytes = slots * kDirectPage, .start = ReplayStart::kCold});
      ASSERT_TRUE(replay.ok()) << replay.status().to_string();
      std::uint64_t draws = 0;
      const auto draw = [&](int n) { return static_cast<std::int32_t>(uniform01(slots, 5, draws++) * n); };
      for (int step = 0; step < 40; ++step) {
        const bool decode = step % 3 != 0;
        const int rows = decode ? 1 : 2 + draw(70);
        const int width = step % 12 == 6 ? 20 : 40;  // some texts use half of the experts
        TraceStep told{.step = step,
                       .phase = decode ? UsePhase::kDecode : UsePhase::kPrefill,
                       .requests = {7},
                       .positions = {0},
                       .layers = {}};
        for (const std::int32_t layer : {0, 1, 3, 4}) {
          TraceLayer& routes = told.layers.emplace_back();
          routes.layer = LayerId{layer};
          routes.reads_ahead = true;
          for (int row = 0; row < rows; ++row) {
            const std::int32_t first = draw(width);
            routes.ids.push_back(first);
            routes.ids.push_back((first + 1 + draw(width - 1)) % width);
          }
          DistinctExperts distinct;
          find_distinct(routes.ids, distinct);
          ASSERT_TRUE(driver
                          .run({.step = step,
                                .layer = layer,
                                .phase = told.phase,
                                .experts = distinct.experts,
                                .rows = distinct.rows})
                          .ok());
        }
        replay->run(told);
      }
      const StoreStats stats = driver.store->stats();
      const ReplayFigures& figures = replay->figures();
      EXPECT_EQ(stats.hits, figures.hits);
      EXPECT_EQ(stats.misses, figures.misses);
      EXPECT_EQ(stats.evictions, figures.evictions);
      EXPECT_EQ(stats.ahead, figures.ahead);
      EXPECT_EQ(stats.ahead_wasted, figures.ahead_wasted);
      EXPECT_GE(stats.transfer.loads, stats.misses);
      EXPECT_LE(stats.transfer.loads, stats.misses + stats.ahead_wasted);
      wasted += stats.ahead_wasted;
      useful += stats.ahead_useful;
    }
  }
  EXPECT_GT(useful, 1000u);
  EXPECT_GT(wasted, 20u);
}

}  // namespace
}  // namespace foregate
