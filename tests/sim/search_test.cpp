// The search over the small scope closes without a break, for each policy and each way back from a preemption; and
// finds bugs that are planted.
#include "tests/sim/search.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace foregate::sim {
namespace {

constexpr std::int64_t kMostStates = 400'000;

void expect_closed(const SearchScope& scope, const char* name) {
  const SearchResult result = search(scope, kMostStates);
  EXPECT_EQ(result.broke, "") << name;
  EXPECT_TRUE(result.closed) << name << ": " << result.states << " states";
  EXPECT_GT(result.seen.preemptions, 0u) << name;
  EXPECT_GT(result.seen.prefix_hits, 0u) << name;
  EXPECT_GT(result.seen.nonfinite_rows, 0u) << name;
  EXPECT_EQ(result.seen.swaps_in > 0, scope.preemption == PreemptionMode::kSwap) << name;
  EXPECT_EQ(result.seen.window_blocks_freed > 0, scope.window.positions > 0) << name;
  std::printf("%s: %lld states, depth %d, %lld turns\n", name, static_cast<long long>(result.states), result.depth,
              static_cast<long long>(result.turns));
}

TEST(Search, ClosesUnderFcfs) {
  expect_closed({}, "fcfs");
}

TEST(Search, ClosesUnderPriorityWithSwap) {
  expect_closed({.policy = PolicyKind::kPriority, .preemption = PreemptionMode::kSwap}, "priority, swap");
}

TEST(Search, ClosesWithAWindow) {
  expect_closed({.window = {.positions = 2}}, "window of 2");
}

TEST(Search, ClosesWithBlocksOfTheirOwnForAWindow) {
  expect_closed({.window = {.positions = 2, .mixed = true}, .window_blocks = 3, .disturbances = 1}, "two groups");
  expect_closed({.preemption = PreemptionMode::kSwap, .window = {.positions = 3, .mixed = true}, .window_blocks = 4},
                "two groups, swap");
}

TEST(Search, FindsWhatIsPlanted) {
  for (const Plant plant : {Plant::kRunsPaused, Plant::kTooManyRows, Plant::kYoungestFirst, Plant::kEvictsOldest,
                            Plant::kSuspectNotAlone, Plant::kKeepsOldSlot}) {
    EXPECT_NE(search({}, kMostStates, plant).broke, "") << static_cast<int>(plant);
  }
}

}  // namespace
}  // namespace foregate::sim
