// The choice between policies: it stands where LRU falls off its cliff, follows the one that is best, and when that one
// stops being best it is left again.
#include <gtest/gtest.h>

#include "engine/experts/eviction.h"
#include "tests/engine/experts/made_uses.h"
#include "tests/engine/experts/slow_tier.h"

namespace foregate {
namespace {

struct Counted {
  std::int64_t hits = 0;    // of the uses from `from` on
  std::int64_t misses = 0;  // likewise
  PolicyFigures figures;
};

Counted run(std::string_view name, const MadeRouting& shape, const std::vector<MadeUse>& uses, std::size_t slots,
            std::size_t from = 0) {
  EvictionOptions options;
  options.experts.assign(static_cast<std::size_t>(shape.layers), shape.experts);
  options.top_k = shape.top_k;
  options.slots = slots;
  auto policy = make_eviction_policy(name, options);
  EXPECT_TRUE(policy.ok()) << policy.status().to_string();
  SlowTier tier{**policy, slots};
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (i == from) tier.hits = tier.misses = 0;
    tier.use(uses[i].use());
  }
  return {tier.hits, tier.misses, (*policy)->figures()};
}

// Every token routes alike, so LRU always lets go what comes next.
TEST(AutoPolicy, DoesNotFallOffTheCliff) {
  const MadeRouting repeating{.layers = 16, .experts = 32, .top_k = 4, .tokens = 400, .sticky = 1};
  const auto uses = made_uses(repeating);
  for (const std::size_t slots : {6, 12, 24, 40, 60}) {  // a cycle is 64
    EXPECT_EQ(run("lru", repeating, uses, slots).hits, 0) << slots;
    const Counted chosen = run("auto", repeating, uses, slots);
    EXPECT_EQ(chosen.hits, run("score", repeating, uses, slots).hits) << slots;
    EXPECT_GT(chosen.hits, 0) << slots;
    EXPECT_EQ(chosen.figures.now, "score");
    EXPECT_EQ(chosen.figures.shadow_hits[1], 0u) << "LRU is not looked at, at " << slots;
    EXPECT_GT(chosen.figures.shadow_hits[0], 0u) << slots;
  }
  EXPECT_GT(run("auto", repeating, uses, 96).figures.shadow_hits[1], 0u) << "but from 1.5 cycles on";
}

// Nor where it takes chance to hit anything, above and below the cycle.
TEST(AutoPolicy, IsAsGoodAsTheScoreWhereThatIsBest) {
  for (const double skew : {0.0, 0.8}) {
    for (const double sticky : {0.0, 0.5}) {
      const MadeRouting routing{.layers = 16, .experts = 64, .top_k = 8, .tokens = 200, .skew = skew, .sticky = sticky};
      const auto uses = made_uses(routing);
      for (const std::size_t slots : {32, 300}) {
        const Counted score = run("score", routing, uses, slots);
        const Counted chosen = run("auto", routing, uses, slots);
        EXPECT_LT(chosen.misses, score.misses * 1.01) << skew << " " << sticky << " " << slots;
      }
    }
  }
}

// What never changes is known best by who forgets nothing.
TEST(AutoPolicy, TakesTheFrequencyWhereNothingChanges) {
  const MadeRouting still{.layers = 8, .experts = 64, .top_k = 6, .tokens = 2000, .skew = 1.3};
  const auto uses = made_uses(still);
  const std::size_t from = uses.size() / 2;
  const Counted lfu = run("lfu", still, uses, 256, from);
  const Counted score = run("score", still, uses, 256, from);
  ASSERT_LT(lfu.misses, 0.95 * score.misses);
  const Counted chosen = run("auto", still, uses, 256, from);
  EXPECT_EQ(chosen.figures.now, "lfu");
  EXPECT_EQ(chosen.figures.switches, 1u) << "and stays with it";
  EXPECT_LT(chosen.misses, 1.01 * lfu.misses);
}

// Other experts become the popular ones: who forgets nothing is wrong for as long again.
TEST(AutoPolicy, LeavesWhatStopsBeingBest) {
  MadeRouting routing{.layers = 8, .experts = 64, .top_k = 6, .tokens = 1000, .skew = 1.3};
  std::vector<MadeUse> uses = made_uses(routing);
  const std::size_t change = uses.size();
  routing.seed = 2;
  for (MadeUse& use : made_uses(routing)) uses.push_back(std::move(use));
  const Counted lfu = run("lfu", routing, uses, 256, change);
  const Counted score = run("score", routing, uses, 256, change);
  ASSERT_GT(lfu.misses, 1.1 * score.misses);
  const std::vector<MadeUse> until(uses.begin(), uses.begin() + static_cast<std::ptrdiff_t>(change));
  EXPECT_EQ(run("auto", routing, until, 256).figures.now, "lfu") << "before the change";
  const Counted chosen = run("auto", routing, uses, 256, change);
  EXPECT_LT(chosen.misses, score.misses + (lfu.misses - score.misses) / 3);
  EXPECT_GE(chosen.figures.switches, 2u);
}

// Room for all, or one layer: nothing to compare, or little.
TEST(AutoPolicy, TakesEveryShape) {
  const MadeRouting routing{.layers = 1, .experts = 8, .top_k = 2, .tokens = 300, .skew = 0.5};
  const auto uses = made_uses(routing);
  EXPECT_EQ(run("auto", routing, uses, 8).figures.shadow_uses, 0u);
  const Counted one = run("auto", routing, uses, 4);
  EXPECT_EQ(one.figures.shadow_uses, 600u);
  EXPECT_GT(one.figures.shadow_hits[0], 0u);
  EXPECT_EQ(run("auto", routing, uses, 3).figures.shadow_uses, 600u) << "the least budget";
}

}  // namespace
}  // namespace foregate
