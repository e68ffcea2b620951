// Decode steps that use more experts than memory holds: their layers are read in order, the next one's meanwhile, each
// expert once a step, beside what stays; and a replay counts the same.
#include <gtest/gtest.h>

#include <map>

#include "engine/base/rng.h"
#include "engine/experts/replay.h"
#include "tests/engine/experts/held_queue.h"
#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using made::key;
using made::StoreDriver;

constexpr std::int32_t kExperts = 16;

MadeUse wide(std::int32_t layer, std::int32_t experts = kExperts) {
  MadeUse use{
      .step = 1, .layer = layer, .phase = UsePhase::kDecode, .experts = made::first_experts(experts), .rows = {}};
  use.rows.assign(use.experts.size(), 8);
  return use;
}

class StoreSweep : public ::testing::Test {
 protected:
  void start(std::uint64_t slots, bool sweep, const char* policy = "score") {
    held_ = std::make_shared<HeldReads>();
    held_->let_all();
    driver_ = std::make_unique<StoreDriver>(
        disk_, StoreOptions{.budget_bytes = slots * kDirectPage, .policy = policy, .sweep = sweep},
        std::make_unique<HeldQueue>(held_, 4));
  }
  StoreStats stats() { return driver_->store->stats(); }
  void run_steps(int steps) {
    for (int step = 0; step < steps; ++step) {
      for (const std::int32_t layer : {0, 2, 3, 4}) ASSERT_TRUE(driver_->run(wide(layer)).ok());
    }
  }
  // The most reads of one expert in the reads from `first` on.
  int most_reads(std::size_t first) {
    std::lock_guard lock(held_->mutex);
    std::map<std::uint64_t, int> reads;
    int most = 0;
    for (std::size_t i = first; i < held_->offsets.size(); ++i) most = std::max(most, ++reads[held_->offsets[i]]);
    return most;
  }
  std::size_t reads() {
    std::lock_guard lock(held_->mutex);
    return held_->offsets.size();
  }

  made::Disk disk_{{.count = kExperts, .pages = {1, 0, 1, 1, 1}, .top_k = 2}};
  std::shared_ptr<HeldReads> held_;
  std::unique_ptr<StoreDriver> driver_;
};

TEST(IsSweep, WhenAStepNeedsMoreThanTheSlots) {
  EXPECT_TRUE(is_sweep(64, 16, 256));
  EXPECT_FALSE(is_sweep(8, 16, 256)) << "one token's experts fit";
  EXPECT_FALSE(is_sweep(16, 16, 256)) << "just fit";
  EXPECT_TRUE(is_sweep(17, 16, 256));
  EXPECT_FALSE(is_sweep(8, 16, 60)) << "too few to read in order";
  EXPECT_FALSE(is_sweep(64, 16, 1024)) << "all are there";
}

TEST_F(StoreSweep, TheNextLayerIsReadWhileOneRunsEachExpertOnce) {
  start(32, true);
  for (int step = 0; step < 12; ++step) {
    const std::size_t first = reads();
    run_steps(1);
    EXPECT_EQ(most_reads(first), 1) << step;
  }
  EXPECT_EQ(stats().sweeps, 48u);
  EXPECT_EQ(stats().repeated_loads, 0u);
  EXPECT_GT(stats().ahead, 100u);
  EXPECT_EQ(stats().ahead_wasted, 0u);
  EXPECT_GT(stats().hits, 12u * 12) << "of 64 experts, 32 have a slot and some stay";
}

TEST_F(StoreSweep, OffReadsNothingAhead) {
  start(32, false);
  run_steps(4);
  EXPECT_EQ(stats().sweeps, 0u);
  EXPECT_EQ(stats().ahead, 0u);
  EXPECT_EQ(stats().repeated_loads, 0u);
}

TEST_F(StoreSweep, StepsThatFitAreNotSwept) {
  start(32, true);
  for (int step = 0; step < 4; ++step) {
    for (const std::int32_t layer : {0, 2, 3, 4}) ASSERT_TRUE(driver_->run(wide(layer, 8)).ok());
  }
  EXPECT_EQ(stats().sweeps, 0u);
  EXPECT_EQ(stats().ahead, 0u);
  EXPECT_EQ(stats().hits, 3u * 32);
}

// A load ahead of a step that was given up, evicted before its layer ran: the second load is counted.
TEST_F(StoreSweep, ASecondLoadBeforeTheLayerRanIsCounted) {
  start(8, false, "lru");
  ASSERT_TRUE(driver_->run(0, {1, 2}).ok());
  driver_->store->prefetch(std::vector<ExpertKey>{key(3, 5)});
  ASSERT_EQ(stats().hints, 1u);
  while (!driver_->store->resident(key(3, 5))) ASSERT_TRUE(driver_->run(0, {1, 2}).ok());
  disk_.bytes()[disk_.extent(key(2, 7)).offset + 9] ^= 1;
  EXPECT_EQ(driver_->run(2, {7}).code(), Code::kDataLoss);
  disk_.bytes()[disk_.extent(key(2, 7)).offset + 9] ^= 1;
  ASSERT_TRUE(driver_->run(2, made::first_experts(8)).ok());
  ASSERT_FALSE(driver_->store->held(key(3, 5)));
  EXPECT_EQ(stats().repeated_loads, 0u);
  ASSERT_TRUE(driver_->run(3, {5}).ok());
  EXPECT_EQ(stats().repeated_loads, 1u);
}

// Steps of one to forty rows, prompts between them.
TEST(StoreSweepReplay, CountsTheSame) {
  std::uint64_t sweeps = 0;
  for (const char* policy : {"lru", "lfu", "score", "auto"}) {
    for (const std::uint64_t slots : {3, 12, 20, 40, 64, 100, 160}) {
      SCOPED_TRACE(std::string(policy) + " " + std::to_string(slots));
      made::Disk disk({.count = 40, .pages = {1, 1, 0, 1, 1}, .top_k = 2});
      StoreDriver driver(disk, {.budget_bytes = slots * kDirectPage, .policy = policy});
      TraceInfo info;
      info.top_k = 2;
      info.experts = disk.table().experts;
      for (const std::int32_t count : info.experts) info.expert_bytes.push_back(count > 0 ? kDirectPage : 0);
      auto replay =
          Replay::create(info, {.policy = policy, .budget_bytes = slots * kDirectPage, .start = ReplayStart::kCold});
      ASSERT_TRUE(replay.ok()) << replay.status().to_string();
      std::uint64_t draws = 0;
      const auto draw = [&](int n) { return static_cast<std::int32_t>(uniform01(slots, 7, draws++) * n); };
      for (int step = 0; step < 60; ++step) {
        const int rows = step % 4 == 0 ? 1 : 5 + draw(35);
        TraceStep told{.step = step,
                       .phase = step % 9 == 8 ? UsePhase::kPrefill : UsePhase::kDecode,
                       .requests = {7},
                       .positions = {0},
                       .layers = {}};
        for (const std::int32_t layer : {0, 1, 3, 4}) {
          TraceLayer& routes = told.layers.emplace_back();
          routes.layer = LayerId{layer};
          routes.reads_ahead = true;
          for (int row = 0; row < rows; ++row) {
            const std::int32_t first = draw(40);
            routes.ids.push_back(first);
            routes.ids.push_back((first + 1 + draw(39)) % 40);
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
      sweeps += stats.sweeps;
      EXPECT_EQ(stats.repeated_loads, 0u);
      if (stats.sweeps == 0) continue;  // of 3 slots, whose waves come as the disk has them
      EXPECT_EQ(stats.hits, figures.hits);
      EXPECT_EQ(stats.misses, figures.misses);
      EXPECT_EQ(stats.evictions, figures.evictions);
      EXPECT_EQ(stats.ahead, figures.ahead);
      EXPECT_EQ(stats.ahead_wasted, figures.ahead_wasted);
    }
  }
  EXPECT_GT(sweeps, 1000u);
}

}  // namespace
}  // namespace foregate
