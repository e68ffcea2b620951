// A disk that fails: the layer ends with an error that names file and expert, nothing stays pinned, and the store
// serves on. Then all of it at random, for many layers.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/base/rng.h"
#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using made::key;
using made::StoreDriver;

// Every slot is there to use, as soon as the last hints have arrived: as many experts as there are slots stay and hit.
void expect_all_slots(StoreDriver& driver, std::int32_t slots, std::int32_t layers) {
  for (std::int32_t layer = 0; layer < layers; ++layer) ASSERT_TRUE(driver.run(layer, {}).ok());  // settles hints
  std::uint64_t misses = UINT64_MAX;
  for (int i = 0; i < 100 && misses != driver.store->stats().misses; ++i) {
    misses = driver.store->stats().misses;
    ASSERT_TRUE(driver.run(0, made::first_experts(slots)).ok());
  }
  EXPECT_EQ(driver.store->stats().misses, misses);
  EXPECT_EQ(driver.store->stats().slots_used, static_cast<std::uint64_t>(slots));
}

TEST(StoreFaults, EveryNthReadGoesWrong) {
  const std::map<Fault, Code> kinds = {{Fault::kIoError, Code::kUnavailable},
                                       {Fault::kShortFile, Code::kDataLoss},
                                       {Fault::kFlippedBit, Code::kDataLoss},
                                       {Fault::kSlow, Code::kOk}};
  for (const auto& [fault, code] : kinds) {
    for (const std::uint64_t every : {1, 2, 3, 5, 11}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(fault)) + " every " + std::to_string(every));
      made::Disk disk({.count = 16, .pages = {1, 1, 1}, .top_k = 3});
      StoreDriver driver(disk, {.budget_bytes = 8 * kDirectPage, .policy = "lru"});
      disk.faults.set(fault, every);
      int failed = 0;
      for (int step = 0; step < 60; ++step) {
        const std::int32_t layer = step % 3;
        const Status status = driver.run(layer, {step % 5, 5 + step % 4, 9 + step % 7});
        if (status.ok()) continue;
        ++failed;
        EXPECT_EQ(status.code(), code) << status.to_string();
        EXPECT_EQ(status.message().find("m/data.fgw: expert "), 0u) << status.to_string();
        EXPECT_TRUE(status.field().ends_with(" of layer " + std::to_string(layer))) << status.to_string();
      }
      EXPECT_GT(disk.faults.faults, 0u);
      if (fault == Fault::kSlow) {
        EXPECT_EQ(failed, 0);
      }
      if (fault != Fault::kSlow && every == 1) {
        EXPECT_EQ(failed, 60);
      }
      EXPECT_EQ(driver.store->stats().transfer.failures > 0, failed > 0);
      disk.faults.set(Fault::kNone, 1);
      expect_all_slots(driver, 8, 3);
    }
  }
}

TEST(StoreFaults, OneDamagedExpertFailsItsLayersOnly) {
  made::Disk disk({.count = 8, .pages = {1, 1}, .top_k = 2});
  StoreDriver driver(disk, {.budget_bytes = 4 * kDirectPage, .policy = "score"});
  disk.bytes()[disk.extent(key(1, 3)).offset + kDirectPage - 1] ^= 128;
  for (int step = 0; step < 24; ++step) {
    const std::vector<std::int32_t> experts = {step % 4, 4 + step % 3};
    EXPECT_TRUE(driver.run(0, experts).ok());
    const Status status = driver.run(1, experts);
    EXPECT_EQ(status.code(), step % 4 == 3 ? Code::kDataLoss : Code::kOk);
    if (!status.ok()) {
      EXPECT_EQ(status.field(), "expert 3 of layer 1");
    }
  }
  disk.bytes()[disk.extent(key(1, 3)).offset + kDirectPage - 1] ^= 128;
  EXPECT_TRUE(driver.run(1, {3}).ok()) << "the file was put right";
}

struct Stress {
  std::uint64_t seed;
  std::uint64_t slots;
  bool evict_at_release;
  bool faults;
  const char* policy;
};

// A disk may become slow at any time: what a load takes is known of late, and not of the whole past.
TEST(StoreFaults, ADiskThatBecomesSlowIsNoticed) {
  made::Disk disk({.count = 16, .pages = {1, 1}, .top_k = 2});
  made::StoreDriver driver(disk, {.budget_bytes = 8 * kDirectPage, .policy = "lru"}, make_thread_queue(1));
  const auto run = [&](std::int32_t steps) {
    for (std::int32_t i = 0; i < steps; ++i) {
      for (std::int32_t layer = 0; layer < 2; ++layer) {
        const std::int32_t first = i * 2 % 16;
        ASSERT_TRUE(driver.run(layer, {first, first + 1}).ok());
      }
    }
  };
  run(1000);
  disk.faults.slow_us = 5000;
  disk.faults.set(Fault::kSlow, 1);
  run(30);
  EXPECT_GT(disk.faults.faults, 100u);
  const double load = driver.store->link_times().load;
  EXPECT_GT(load, 2e-3) << "120 loads of 5 ms behind 4000 fast ones";
  // A layer that leaves half a millisecond to the disk had time for a likely guess, and has none any more.
  EXPECT_TRUE(LookaheadGate::gain(0.7, {.load = 1e-4, .idle = 5e-4, .layer = 1e-3}, 0.0));
  EXPECT_FALSE(LookaheadGate::gain(0.7, {.load = load, .idle = 5e-4, .layer = 1e-3}, 0.0));
}

class StoreStress : public ::testing::TestWithParam<Stress> {
 protected:
  std::uint64_t draw(std::uint64_t below) {
    return static_cast<std::uint64_t>(uniform01(GetParam().seed, 7, count_++) * static_cast<double>(below));
  }
  std::vector<std::int32_t> some_experts() {
    const std::uint64_t width = draw(8) == 0 ? 1 + draw(kExperts) : draw(5);
    std::vector<std::int32_t> experts;
    for (std::int32_t e = 0; e < kExperts; ++e) {
      if (draw(kExperts) < width) experts.push_back(e);
    }
    return experts;
  }
  void some_hints(ExpertStore& store, std::int32_t layer) {
    std::vector<ExpertKey> hints;
    for (std::uint64_t i = draw(4); i > 0; --i) {
      hints.push_back(
          key((layer + 1 + static_cast<std::int32_t>(draw(2))) % kLayers, static_cast<std::int32_t>(draw(kExperts))));
    }
    store.prefetch(hints);
  }

  static constexpr std::int32_t kExperts = 24;
  static constexpr std::int32_t kLayers = 4;
  std::uint64_t count_ = 0;
};

TEST_P(StoreStress, ServesManyLayers) {
  const Stress& stress = GetParam();
  made::Disk disk({.count = kExperts, .pages = {1, 1, 1, 1}, .top_k = 2});
  StoreOptions options{.budget_bytes = stress.slots * kDirectPage,
                       .policy = stress.policy,
                       .transfer = {.chunk_bytes = kDirectPage / 2},
                       .evict_at_release = stress.evict_at_release};
  StoreDriver driver(disk, options, make_thread_queue(3));
  if (stress.faults) disk.faults.set(Fault::kFlippedBit, 3);
  int failed = 0;
  std::uint64_t asked = 0;
  for (std::int32_t i = 0; i < 1200; ++i) {
    if (stress.faults && i % 100 == 0) disk.faults.fault = i % 200 == 0 ? Fault::kIoError : Fault::kFlippedBit;
    const std::int32_t layer = i % kLayers;
    const std::vector<std::int32_t> experts = some_experts();
    asked += experts.size();
    driver.begin(layer, experts);
    some_hints(*driver.store, layer);
    if (!driver.finish().ok()) ++failed;
  }
  const StoreStats stats = driver.store->stats();
  EXPECT_EQ(stats.hits + stats.misses, asked);
  EXPECT_GT(stats.evictions, 300u);
  EXPECT_EQ(failed > 0, stress.faults) << failed;
  EXPECT_EQ(stats.transfer.retries > 0, stress.faults);
  EXPECT_EQ(stats.hints > 0, stress.slots >= 8);
  EXPECT_LE(stats.hints_useful + stats.hints_wasted, stats.hints);
  EXPECT_LE(stats.hints, stats.hints_useful + stats.hints_wasted + driver.store->max_hints());
  disk.faults.set(Fault::kNone, 1);
  if (!stress.evict_at_release) expect_all_slots(driver, static_cast<std::int32_t>(stress.slots), kLayers);
}

INSTANTIATE_TEST_SUITE_P(Seeds, StoreStress,
                         ::testing::Values(Stress{1, 3, false, false, "lru"}, Stress{2, 8, false, false, "lru"},
                                           Stress{3, 20, false, true, "lru"}, Stress{4, 16, true, false, "score"},
                                           Stress{5, 9, true, true, "lfu"}, Stress{6, 3, false, true, "lru"}));

}  // namespace
}  // namespace foregate
