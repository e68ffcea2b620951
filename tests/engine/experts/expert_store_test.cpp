// The store over made files: what it counts, what a lease holds, layers wider than the slots, and every fault of a
// disk.
#include "engine/experts/expert_store.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/engine/experts/held_queue.h"
#include "tests/engine/experts/slow_tier.h"
#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

using made::key;
using made::StoreDriver;

StoreOptions slots_of(const made::Disk& disk, std::uint64_t slots, const char* policy = "lru") {
  return {.budget_bytes = slots * disk.table().extents[0].bytes, .policy = policy};
}

TEST(ExpertStoreTest, CountsHitsMissesAndEvictions) {
  made::Disk disk({.count = 8, .pages = {1, 1}});
  StoreDriver driver(disk, slots_of(disk, 4));
  ASSERT_TRUE(driver.run(0, {0, 1}).ok());
  ASSERT_TRUE(driver.run(1, {2, 3}).ok());
  EXPECT_EQ(driver.store->stats().misses, 4u);
  EXPECT_EQ(driver.store->stats().slots_used, 4u);
  ASSERT_TRUE(driver.run(0, {0, 1}).ok());
  EXPECT_EQ(driver.store->stats().hits, 2u);
  EXPECT_EQ(driver.store->stats().evictions, 0u);
  ASSERT_TRUE(driver.run(0, {1, 5}).ok());
  const StoreStats stats = driver.store->stats();
  EXPECT_EQ(stats.hits, 3u);
  EXPECT_EQ(stats.misses, 5u);
  EXPECT_EQ(stats.evictions, 1u);
  EXPECT_EQ(stats.slots, 4u);
  EXPECT_EQ(stats.slot_bytes, 4 * kDirectPage);
  EXPECT_EQ(stats.transfer.loads, 5u);
  EXPECT_EQ(stats.transfer.bytes, 5 * kDirectPage);
  EXPECT_FALSE(driver.store->resident(key(1, 2))) << "the oldest use, and the lesser key of two";
  EXPECT_TRUE(driver.store->resident(key(1, 3)) && driver.store->resident(key(0, 5)));
}

TEST(ExpertStoreTest, ServesEveryBudgetFromTheLeastToAll) {
  made::Disk disk({.count = 8, .pages = {1, 0, 1}, .top_k = 2});
  std::uint64_t last_misses = UINT64_MAX;
  for (std::uint64_t slots = 1; slots <= 16; ++slots) {
    made::HeapDevice device;
    if (slots < 3) {
      const auto refused = ExpertStore::create(disk.table(), slots_of(disk, slots), device, make_thread_queue(1));
      EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
      EXPECT_EQ(refused.status().field(), "expert_memory");
      EXPECT_NE(refused.status().message().find(std::to_string(3 * kDirectPage)), std::string::npos)
          << refused.status().to_string();
      continue;
    }
    StoreDriver driver(disk, slots_of(disk, slots));
    EXPECT_EQ(driver.store->stats().slots, slots);
    for (int step = 0; step < 20; ++step) {
      for (const std::int32_t layer : {0, 2}) ASSERT_TRUE(driver.run(layer, {step % 4, 4 + step % 3}).ok());
    }
    EXPECT_LE(driver.store->stats().misses, last_misses) << slots;
    last_misses = driver.store->stats().misses;
  }
  EXPECT_EQ(last_misses, 14u) << "with room for all, each is read once";
}

// The bound that the error names is enough, and one byte less is not.
TEST(ExpertStoreTest, TheLeastBudgetThatIsNamedIsTheLeast) {
  for (const std::vector<std::uint64_t>& pages : {std::vector<std::uint64_t>{1, 1}, {1, 3}, {2, 5, 5}, {7, 1, 1, 1}}) {
    made::Disk disk({.count = 7, .pages = pages, .top_k = 3});
    made::HeapDevice device;
    const auto try_budget = [&](std::uint64_t bytes) {
      return ExpertStore::create(disk.table(), {.budget_bytes = bytes, .policy = "lru"}, device, make_thread_queue(1))
          .status();
    };
    const std::string message = try_budget(1).message();
    const std::string mark = "at least ";
    const std::uint64_t least = std::stoull(message.substr(message.find(mark) + mark.size()));
    EXPECT_EQ(try_budget(least - 1).code(), Code::kInvalidArgument) << message;
    StoreDriver driver(disk, {.budget_bytes = least, .policy = "lru"});
    ASSERT_NE(driver.store, nullptr);
    EXPECT_LE(driver.store->stats().slot_bytes, least);
    for (std::int32_t layer = 0; layer < static_cast<std::int32_t>(pages.size()); ++layer) {
      EXPECT_TRUE(driver.run(layer, made::first_experts(7)).ok());
    }
  }
}

TEST(ExpertStoreTest, MemoryThatIsNotThereIsAnError) {
  made::Disk disk({.count = 8, .pages = {1}});
  made::HeapDevice device;
  device.limit = 4 * kDirectPage;
  const auto store = ExpertStore::create(disk.table(), slots_of(disk, 4), device, make_thread_queue(1));
  EXPECT_EQ(store.status().code(), Code::kResourceExhausted);
  const auto policy = ExpertStore::create(disk.table(), slots_of(disk, 4, "newest"), device, make_thread_queue(1));
  EXPECT_EQ(policy.status().field(), "policy");
}

TEST(ExpertStoreTest, ReadyOnesComeFirstAndALeaseKeepsItsExpert) {
  made::Disk disk({.count = 8, .pages = {1}});
  auto held = std::make_shared<HeldReads>();
  StoreDriver driver(disk, slots_of(disk, 3), std::make_unique<HeldQueue>(held, 2));
  held->let(2);
  ASSERT_TRUE(driver.run(0, {0, 1}).ok());
  driver.begin(0, {0, 5});
  auto first = driver.store->next();
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first->size(), 1u) << "the one that is there does not wait for the other";
  EXPECT_EQ((*first)[0].expert().value, 0);
  held->let(1);
  auto second = driver.store->next();
  ASSERT_TRUE(second.ok());
  ASSERT_EQ(second->size(), 1u);
  EXPECT_TRUE(disk.right(key(0, 0), (*first)[0].weights().gate.data));
  EXPECT_TRUE(disk.right(key(0, 5), (*second)[0].weights().gate.data));
  ASSERT_TRUE(driver.store->next()->empty());
  second->clear();
  // The lease of 0 is still out: others go, it does not.
  held->let_all();
  for (std::int32_t e = 1; e < 8; ++e) {
    ASSERT_TRUE(driver.run(0, {e}).ok());
    EXPECT_TRUE(disk.right(key(0, 0), (*first)[0].weights().gate.data));
  }
  EXPECT_TRUE(driver.store->resident(key(0, 0)));
}

TEST(ExpertStoreTest, CountsTheTimeItWaitedWithNothingReady) {
  made::Disk disk({.count = 8, .pages = {1}});
  auto held = std::make_shared<HeldReads>();
  StoreDriver driver(disk, slots_of(disk, 3), std::make_unique<HeldQueue>(held, 2));
  // The read may end before it is waited for on a busy machine, but not every time.
  for (std::size_t i = 1; i <= 1000 && driver.store->stats().stall_seconds == 0.0; ++i) {
    std::thread late([&] {
      held->asked(i);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      held->let(1);
    });
    EXPECT_TRUE(driver.run(0, {static_cast<std::int32_t>(i % 8)}).ok());
    late.join();
  }
  EXPECT_GT(driver.store->stats().stall_seconds, 0.0);
}

TEST(ExpertStoreTest, LeasesMoveAndGiveBackOnce) {
  made::Disk disk({.count = 4, .pages = {1}});
  StoreDriver driver(disk, slots_of(disk, 3));
  driver.begin(0, {2});
  auto leases = driver.store->next();
  ASSERT_TRUE(leases.ok() && leases->size() == 1);
  Lease lease = std::move((*leases)[0]);
  EXPECT_FALSE((*leases)[0]);
  leases->clear();
  EXPECT_TRUE(lease);
  EXPECT_TRUE(disk.right(key(0, 2), lease.weights().gate.data));
  EXPECT_EQ(lease.weights().up.data, lease.weights().gate.data + 64);
  EXPECT_EQ(lease.weights().down.data, lease.weights().gate.data + 128);
  lease.release();
  lease.release();
  EXPECT_FALSE(lease);
  EXPECT_DEATH((void)lease.weights(), "store_");
}

TEST(ExpertStoreTest, ALayerWiderThanTheSlotsComesInWaves) {
  made::Disk disk({.count = 32, .pages = {1, 1}, .top_k = 2});
  for (const char* policy : {"lru", "lfu", "score"}) {
    StoreDriver driver(disk, slots_of(disk, 3, policy));
    for (int step = 0; step < 5; ++step) {
      for (const std::int32_t layer : {0, 1}) ASSERT_TRUE(driver.run(layer, made::first_experts(32)).ok());
    }
    EXPECT_LE(driver.largest_wave, 3u);
    const StoreStats stats = driver.store->stats();
    EXPECT_EQ(stats.hits + stats.misses, 320u);
    EXPECT_EQ(stats.transfer.loads, stats.misses);
    EXPECT_EQ(stats.evictions, stats.misses - 3);
  }
}

TEST(ExpertStoreTest, TwoSizesOfExpertsHaveSlotsOfTheirOwn) {
  made::Disk disk({.count = 8, .pages = {1, 3, 1, 3}, .top_k = 2});
  const std::uint64_t all = disk.table().bytes();
  for (const std::uint64_t budget : {all, all / 2, all * 2}) {
    StoreDriver driver(disk, {.budget_bytes = budget, .policy = "score"});
    EXPECT_LE(driver.store->stats().slot_bytes, budget);
    EXPECT_EQ(driver.store->stats().slots, budget >= all ? 32u : 16u);
    for (int step = 0; step < 30; ++step) {
      for (std::int32_t layer = 0; layer < 4; ++layer) {
        ASSERT_TRUE(driver.run(layer, {step % 3, 3 + step % 5}).ok());
      }
    }
    EXPECT_EQ(driver.store->stats().evictions > 0, budget < all);
  }
}

// Any use of an expert after its lease would show: nothing stays.
TEST(ExpertStoreTest, EvictAtReleaseKeepsNothing) {
  made::Disk disk({.count = 8, .pages = {1, 1}});
  StoreOptions options = slots_of(disk, 16);
  options.evict_at_release = true;
  StoreDriver driver(disk, options);
  for (int step = 0; step < 4; ++step) ASSERT_TRUE(driver.run(0, {1, 2, 3}).ok());
  const StoreStats stats = driver.store->stats();
  EXPECT_EQ(stats.hits, 0u);
  EXPECT_EQ(stats.misses, 12u);
  EXPECT_EQ(stats.evictions, 12u);
  EXPECT_EQ(stats.slots_used, 0u);
}

// The counts of the engine are those of a tier in a dozen lines that is told the same uses.
// Half of two layers fits. Without order, the first layer of the prompt would take the slots of all that decode uses in
// the second.
TEST(ExpertStoreTest, APromptLeavesWhatDecodeUses) {
  made::Disk disk({.count = 32, .pages = {1, 1}, .top_k = 4});
  StoreDriver driver(disk, slots_of(disk, 32, "score"));
  const std::vector<std::int32_t> hot = {1, 5, 8, 13, 17, 21, 24, 30};
  for (int i = 0; i < 100; ++i) {
    for (const std::int32_t layer : {0, 1}) ASSERT_TRUE(driver.run(layer, hot).ok());
  }
  for (const std::int32_t layer : {0, 1}) {
    MadeUse prompt{
        .step = 1000, .layer = layer, .phase = UsePhase::kPrefill, .experts = made::first_experts(32), .rows = {}};
    prompt.rows.assign(32, 2);
    ASSERT_TRUE(driver.run(prompt).ok());
  }
  std::size_t left = 0;
  for (const std::int32_t layer : {0, 1}) {
    for (const std::int32_t expert : hot) left += driver.store->resident(key(layer, expert)) ? 1 : 0;
  }
  EXPECT_EQ(left, 2 * hot.size());
}

TEST(ExpertStoreTest, HitsAreWhatAReplayGives) {
  made::Disk disk({.count = 16, .pages = {1, 1, 1, 1}, .top_k = 3});
  for (const char* policy : {"lru", "lfu", "score"}) {
    for (const std::uint64_t slots : {4, 7, 12, 20, 40, 64}) {
      for (const double skew : {0.0, 1.2}) {
        SCOPED_TRACE(std::string(policy) + " " + std::to_string(slots) + " " + std::to_string(skew));
        const auto uses = made_uses(
            {.layers = 4, .experts = 16, .top_k = 3, .tokens = 60, .skew = skew, .sticky = 0.4, .seed = slots});
        StoreOptions options = slots_of(disk, slots, policy);
        options.read_prompts_ahead = false;  // store_prompt_test.cpp
        StoreDriver driver(disk, options);
        EvictionOptions plain;
        plain.experts = disk.table().experts;
        plain.top_k = 3;
        auto replayed = make_eviction_policy(policy, plain);
        ASSERT_TRUE(replayed.ok());
        SlowTier tier{**replayed, static_cast<std::size_t>(slots)};
        for (const MadeUse& use : uses) {
          ASSERT_TRUE(driver.run(use).ok());
          tier.use(use.use());
          if (use.layer != 3 || use.step % 9 != 5) continue;
          for (std::int32_t layer = 0; layer < 4; ++layer) {  // a prompt that needs all but one
            MadeUse prompt{.step = use.step,
                           .layer = layer,
                           .phase = UsePhase::kPrefill,
                           .experts = made::first_experts(15),
                           .rows = {}};
            for (std::int32_t i = 0; i < 15; ++i) prompt.rows.push_back(1 + (i * 7 + layer) % 5);
            ASSERT_TRUE(driver.run(prompt).ok());
            tier.use(prompt.use());
          }
        }
        const StoreStats stats = driver.store->stats();
        EXPECT_EQ(stats.hits, static_cast<std::uint64_t>(tier.hits));
        EXPECT_EQ(stats.misses, static_cast<std::uint64_t>(tier.misses));
        EXPECT_EQ(stats.evictions, static_cast<std::uint64_t>(tier.evictions));
        EXPECT_EQ(stats.transfer.loads, stats.misses);
        for (const ExpertKey resident : tier.resident) EXPECT_TRUE(driver.store->resident(resident));
      }
    }
  }
}

}  // namespace
}  // namespace foregate
