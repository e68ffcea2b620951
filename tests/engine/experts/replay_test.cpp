// A replay counts what the store counts, use by use; what it says about policies is what is known of them: LRU falls
// off a cliff below one token cycle, Belady is the bound.
#include "engine/experts/replay.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/experts/trace_summary.h"
#include "tests/engine/experts/slow_tier.h"
#include "tests/engine/experts/store_driver.h"

namespace foregate {
namespace {

TraceStep step_of(const MadeUse& use) {
  TraceStep step{.step = use.step, .phase = use.phase, .requests = {7}, .positions = {0}, .layers = {}};
  step.layers.push_back(
      {.layer = LayerId{use.layer}, .streamed = false, .ids = use.experts, .weights = {}, .resident = {}});
  step.layers.back().resident.assign(use.experts.size(), 0);
  return step;
}

// The layers of one token in one step.
std::vector<TraceStep> steps_of(const std::vector<MadeUse>& uses) {
  std::vector<TraceStep> steps;
  for (const MadeUse& use : uses) {
    TraceStep step = step_of(use);
    if (steps.empty() || steps.back().step != step.step) {
      steps.push_back(std::move(step));
    } else {
      steps.back().layers.push_back(std::move(step.layers[0]));
    }
  }
  return steps;
}

TraceInfo info_of(std::vector<std::int32_t> experts, std::int32_t top_k, std::uint64_t bytes = kDirectPage) {
  TraceInfo info;
  info.top_k = top_k;
  for (const std::int32_t count : experts) info.expert_bytes.push_back(count > 0 ? bytes : 0);
  info.experts = std::move(experts);
  return info;
}

ReplayFigures replay(const TraceInfo& info, const std::vector<TraceStep>& steps, ReplayOptions options) {
  FutureUses future;
  for (const TraceStep& step : steps) add_uses(step, future);
  options.future = &future;
  auto replay = Replay::create(info, options);
  EXPECT_TRUE(replay.ok()) << replay.status().to_string();
  for (const TraceStep& step : steps) replay->run(step);
  return replay->figures();
}

ReplayFigures replay_slots(const TraceInfo& info, const std::vector<TraceStep>& steps, const char* policy,
                           std::uint64_t slots) {
  return replay(info, steps, {.policy = policy, .budget_bytes = budget_for_slots(sizes_of(info), slots)});
}

TEST(Replay, CountsWhatTheStoreCounts) {
  made::Disk disk({.count = 16, .pages = {1, 0, 1, 1}, .top_k = 3});
  const TraceInfo info = info_of(disk.table().experts, 3);
  for (const char* policy : {"lru", "lfu", "score", "auto"}) {
    for (const std::uint64_t slots : {4, 7, 12, 20, 48}) {
      SCOPED_TRACE(std::string(policy) + " " + std::to_string(slots));
      auto uses = made_uses({.layers = 3, .experts = 16, .top_k = 3, .tokens = 80, .skew = 0.8, .sticky = 0.3});
      for (MadeUse& use : uses) use.layer += use.layer > 0 ? 1 : 0;  // the second layer is dense
      made::StoreDriver driver(disk, {.budget_bytes = slots * kDirectPage, .policy = policy});
      for (const MadeUse& use : uses) ASSERT_TRUE(driver.run(use).ok());
      const StoreStats stats = driver.store->stats();
      const ReplayFigures figures = replay_slots(info, steps_of(uses), policy, slots);
      EXPECT_EQ(figures.hits, stats.hits);
      EXPECT_EQ(figures.misses, stats.misses);
      EXPECT_EQ(figures.evictions, stats.evictions);
      EXPECT_EQ(figures.missed_bytes, stats.transfer.bytes);
      EXPECT_EQ(figures.slots, stats.slots);
      EXPECT_EQ(figures.tokens, 80u);
      EXPECT_EQ(figures.hits > 0, slots > 4 || std::string(policy) != "lru");
    }
  }
}

// Prompts pass through the slots a few at a time, wide ones too.
TEST(Replay, CountsPromptsAsTheStoreDoes) {
  made::Disk disk({.count = 24, .pages = {1, 1, 1}, .top_k = 3});
  const TraceInfo info = info_of(disk.table().experts, 3);
  for (const char* policy : {"lru", "lfu", "score", "auto"}) {
    for (const std::uint64_t slots : {4, 7, 12, 24, 40}) {
      SCOPED_TRACE(std::string(policy) + " " + std::to_string(slots));
      auto uses = made_uses({.layers = 3, .experts = 24, .top_k = 3, .tokens = 120, .skew = 0.6, .sticky = 0.3});
      for (MadeUse& use : uses) {
        if (use.step % 10 > 2) continue;
        use.phase = UsePhase::kPrefill;
        for (std::int32_t e = static_cast<std::int32_t>(use.step % 10); e < 24; e += 2) use.experts.push_back(e);
        std::sort(use.experts.begin(), use.experts.end());
        use.experts.erase(std::unique(use.experts.begin(), use.experts.end()), use.experts.end());
        use.rows.assign(use.experts.size(), 1);
      }
      made::StoreDriver driver(disk, {.budget_bytes = slots * kDirectPage, .policy = policy});
      for (const MadeUse& use : uses) ASSERT_TRUE(driver.run(use).ok());
      const ReplayFigures figures = replay_slots(info, steps_of(uses), policy, slots);
      EXPECT_EQ(figures.hits, driver.store->stats().hits);
      EXPECT_EQ(figures.misses, driver.store->stats().misses);
      EXPECT_EQ(figures.evictions, driver.store->stats().evictions);
    }
  }
}

TEST(Replay, SizesHaveSlotsOfTheirOwnAsInTheStore) {
  made::Disk disk({.count = 8, .pages = {1, 3, 1, 3}, .top_k = 2});
  TraceInfo info = info_of(disk.table().experts, 2);
  info.expert_bytes = {kDirectPage, 3 * kDirectPage, kDirectPage, 3 * kDirectPage};
  const auto uses = made_uses({.layers = 4, .experts = 8, .top_k = 2, .tokens = 60, .skew = 1.0});
  for (const std::uint64_t share : {4, 2, 1}) {
    const std::uint64_t budget = disk.table().bytes() / share;
    made::StoreDriver driver(disk, {.budget_bytes = budget, .policy = "score"});
    for (const MadeUse& use : uses) ASSERT_TRUE(driver.run(use).ok());
    const ReplayFigures figures = replay(info, steps_of(uses), {.policy = "score", .budget_bytes = budget});
    EXPECT_EQ(figures.hits, driver.store->stats().hits) << share;
    EXPECT_EQ(figures.missed_bytes, driver.store->stats().transfer.bytes);
    EXPECT_EQ(figures.slot_bytes, driver.store->stats().slot_bytes);
  }
}

// Layers wider than the slots: as many hits and misses as experts, nothing more is promised.
TEST(Replay, WideLayersComeInWaves) {
  const TraceInfo info = info_of({32, 32}, 2);
  std::vector<MadeUse> uses;
  for (std::int32_t i = 0; i < 10; ++i) {
    uses.push_back({.step = i / 2,
                    .layer = i % 2,
                    .phase = UsePhase::kPrefill,
                    .experts = made::first_experts(32),
                    .rows = std::vector<std::int32_t>(32, 1)});
  }
  for (TraceStep& step : std::vector<TraceStep>{steps_of(uses)}) EXPECT_EQ(step.layers.size(), 2u);
  for (const char* policy : {"lru", "lfu", "score", "belady"}) {
    for (const std::uint64_t slots : {3, 31, 40}) {
      const ReplayFigures figures = replay_slots(info, steps_of(uses), policy, slots);
      EXPECT_EQ(figures.hits + figures.misses, 320u) << policy << slots;
      EXPECT_EQ(figures.evictions, figures.misses - slots) << policy << slots;
    }
  }
}

TEST(Replay, LruHitsNothingBelowOneTokenCycleAndTheScoreDoes) {
  // Every token routes alike: 8 layers of 4, a cycle of 32.
  std::vector<MadeUse> uses;
  for (std::int32_t i = 0; i < 8 * 200; ++i) {
    uses.push_back(
        {.step = i / 8, .layer = i % 8, .phase = UsePhase::kDecode, .experts = {1, 5, 9, 13}, .rows = {1, 1, 1, 1}});
  }
  const TraceInfo info = info_of(std::vector<std::int32_t>(8, 16), 4);
  const auto steps = steps_of(uses);
  for (const std::uint64_t slots : {8, 16, 24, 28}) {  // a layer short of the cycle
    EXPECT_EQ(replay_slots(info, steps, "lru", slots).hits, 0u) << slots;
    const ReplayFigures score = replay_slots(info, steps, "score", slots);
    const ReplayFigures bound = replay_slots(info, steps, "belady", slots);
    EXPECT_GT(score.hit_rate(), 0.5 * (static_cast<double>(slots) - 4) / 32) << slots;
    EXPECT_GE(bound.hits, score.hits);
  }
  EXPECT_EQ(replay_slots(info, steps, "lru", 32).misses, 32u) << "one cycle fits: each is read once";
}

TEST(Replay, BeladyIsTheBound) {
  for (const double skew : {0.0, 0.7, 1.4}) {
    for (const double sticky : {0.0, 0.5}) {
      const auto steps = steps_of(made_uses({.layers = 6, .experts = 24, .top_k = 3, .skew = skew, .sticky = sticky}));
      const TraceInfo info = info_of(std::vector<std::int32_t>(6, 24), 3);
      for (const std::uint64_t slots : {4, 10, 18, 30, 72, 144}) {
        const ReplayFigures bound = replay_slots(info, steps, "belady", slots);
        for (const char* policy : {"lru", "lfu", "score", "auto"}) {
          const ReplayFigures other = replay_slots(info, steps, policy, slots);
          EXPECT_LE(other.hits, bound.hits) << policy << " " << slots << " " << skew << " " << sticky;
          EXPECT_EQ(other.hits + other.misses, bound.hits + bound.misses);
        }
      }
    }
  }
}

TEST(Replay, BeginsWhereItIsTold) {
  TraceInfo info = info_of({8, 8}, 2);
  info.slots = 6;
  info.counters.rates = {{0, 0, 0, 0, 0, 0, 0.5f, 0.9f}, {0, 0, 0, 0, 0, 0.4f, 0.8f, 0}};
  info.resident = {made::key(0, 6), made::key(0, 7), made::key(1, 5),
                   made::key(1, 6), made::key(0, 0), made::key(1, 0)};
  const MadeUse use{.step = 0, .layer = 0, .phase = UsePhase::kDecode, .experts = {6, 7}, .rows = {1, 1}};
  const std::vector<TraceStep> steps = {step_of(use)};
  const auto run = [&](std::uint64_t slots, ReplayStart start) {
    return replay(info, steps, {.policy = "lru", .budget_bytes = slots * kDirectPage, .start = start});
  };
  EXPECT_EQ(run(6, ReplayStart::kTrace).hits, 2u);
  EXPECT_EQ(run(6, ReplayStart::kTrace).first_experts, 6u);
  EXPECT_EQ(run(3, ReplayStart::kTrace).hits, 2u) << "another budget: by the counters";
  EXPECT_EQ(run(3, ReplayStart::kWarm).first_experts, 3u);
  EXPECT_EQ(run(6, ReplayStart::kCold).hits, 0u);
  info.resident.clear();
  EXPECT_EQ(run(6, ReplayStart::kTrace).hits, 0u) << "the trace began cold";
}

TEST(Replay, StreamedLayersPassBy) {
  const TraceInfo info = info_of({8}, 2);
  TraceStep step = step_of({.step = 0, .layer = 0, .phase = UsePhase::kPrefill, .experts = {1, 2}, .rows = {1, 1}});
  step.layers[0].streamed = true;
  TraceStep again = step_of({.step = 1, .layer = 0, .phase = UsePhase::kDecode, .experts = {1, 2}, .rows = {1, 1}});
  const ReplayFigures figures = replay_slots(info, {step, again}, "lru", 4);
  EXPECT_EQ(figures.hits, 0u);
  EXPECT_EQ(figures.misses, 4u);
}

TEST(Replay, StallsAreLoadsBeyondTheComputation) {
  const TraceInfo info = info_of({8}, 2, 1'000'000);
  const std::vector<TraceStep> steps = {
      step_of({.step = 0, .layer = 0, .phase = UsePhase::kDecode, .experts = {1, 2}, .rows = {1, 1}})};
  CostModel costs = cost_of_bandwidth(1e9);
  const ReplayOptions options{.policy = "lru", .budget_bytes = 4'000'000, .costs = &costs};
  EXPECT_NEAR(replay(info, steps, options).stall_seconds, 2e-3, 1e-12);
  costs.kernels.push_back({.format = "f32", .expert_bytes = 1'000'000, .points = {{1, 5e-4}, {2, 6e-4}}});
  EXPECT_NEAR(replay(info, steps, options).stall_seconds, 1.5e-3, 1e-12) << "one is computed while the other comes";
  costs.kernels[0].points = {{1, 1.0}};
  EXPECT_EQ(replay(info, steps, options).stall_seconds, 0.0);
}

TEST(Replay, RefusesWhatItCannotReplay) {
  const TraceInfo info = info_of({8, 8}, 2);
  EXPECT_EQ(Replay::create(info, {.policy = "newest", .budget_bytes = 1 << 20}).status().field(), "policy");
  EXPECT_EQ(Replay::create(info, {.policy = "belady", .budget_bytes = 1 << 20}).status().field(), "policy");
  EXPECT_EQ(Replay::create(info, {.policy = "lru", .budget_bytes = 1}).status().field(), "expert_memory");
  EXPECT_EQ(Replay::create(info_of({0, 0}, 2), {.budget_bytes = 1 << 20}).status().field(), "trace");
  EXPECT_EQ(Replay::create(info_of({8}, 2, 0), {.budget_bytes = 1 << 20}).status().field(), "trace");
}

TEST(Replay, SlotsAreWhatABudgetOfThemGives) {
  for (const ExpertSizes& sizes : {ExpertSizes{{4096, 48}}, ExpertSizes{{4096, 10}, {12288, 10}}}) {
    std::uint64_t all = 0;
    for (const auto& [bytes, experts] : sizes) all += experts;
    for (std::uint64_t slots = 8; slots <= all; ++slots) {
      auto groups = plan_slots(sizes, 2, budget_for_slots(sizes, slots));
      ASSERT_TRUE(groups.ok());
      std::uint64_t got = 0;
      for (const SlotGroup& group : *groups) got += group.slots;
      EXPECT_LE(got, slots);
      EXPECT_GE(got + sizes.size() - 1, slots);
    }
  }
}

TEST(TraceSummary, SaysHowRoutingIs) {
  const TraceInfo info = info_of({8, 8}, 2);
  TraceSummarizer alike(info);
  TraceSummarizer even(info);
  for (std::int32_t i = 0; i < 64; ++i) {
    const auto both = [&](std::int32_t a, std::int32_t b) {
      TraceStep step =
          step_of({.step = i, .layer = 0, .phase = UsePhase::kDecode, .experts = {a, a + 1}, .rows = {1, 1}});
      step.layers.push_back(step.layers[0]);
      step.layers[1].layer = LayerId{1};
      step.layers[1].ids = {b, b + 1};
      step.layers[0].resident = {1, 0};
      return step;
    };
    alike.add(both(2, 4));
    const std::int32_t turn = 2 * (i % 4);
    even.add(both(turn, 6 - turn));
  }
  const TraceSummary same = alike.summary();
  ASSERT_EQ(same.layers.size(), 2u);
  EXPECT_EQ(same.steps, 64);
  EXPECT_EQ(same.requests, 1u);
  EXPECT_EQ(same.hits, 64u);
  EXPECT_EQ(same.misses, 64u * 3);
  EXPECT_EQ(same.layers[0].used, 2);
  EXPECT_NEAR(same.layers[0].effective, 2.0, 1e-9);
  EXPECT_NEAR(same.layers[0].top_quarter, 1.0, 1e-9);
  EXPECT_NEAR(same.layers[0].repeated, 1.0, 1e-9);
  EXPECT_NEAR(same.layers[0].distinct, 2.0, 1e-9);
  const TraceSummary turns = even.summary();
  EXPECT_EQ(turns.layers[1].used, 8);
  EXPECT_NEAR(turns.layers[1].effective, 8.0, 1e-9);
  EXPECT_NEAR(turns.layers[1].top_quarter, 0.25, 1e-9);
  EXPECT_EQ(turns.layers[0].repeated, 0.0);
  EXPECT_GT(turns.layers[0].next_right, 0.9) << "this layer's expert tells the next one's";
  EXPECT_LT(turns.layers[0].next_popular, 0.35) << "what is used most does not";
}

}  // namespace
}  // namespace foregate
