// Who is held back for its experts: by what loads cost, never the first in rank, never for longer than the bound.
#include "engine/sched/expert_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "engine/base/rng.h"

namespace foregate {
namespace {

using Experts = std::vector<std::int32_t>;
using Indices = std::vector<std::size_t>;

constexpr ExpertBatchCost kSlowDisk{0.001, 0.010};  // one load is ten steps
constexpr ExpertBatchCost kFastDisk{0.100, 0.001};

TEST(ExpertBatch, WhoseExpertsAreThereRunsBesideThem) {
  const Experts there = {0, 1}, also = {1, 2}, away = {5, 6, 7};
  const std::vector<std::uint8_t> resident = {1, 1, 1, 0, 0, 0, 0, 0};
  const std::vector<ExpertBatchView> views = {{there}, {away}, {also}};
  EXPECT_EQ(hold_back(views, resident, kSlowDisk, 4), (Indices{1}));
  EXPECT_EQ(hold_back(views, resident, kFastDisk, 4), Indices{}) << "loads cost less than a step of their own";
}

TEST(ExpertBatch, LoadsThatAreSharedCostOnce) {
  const Experts first = {5, 6}, same = {6, 5}, other = {3, 4};
  const std::vector<std::uint8_t> resident(8, 0);
  const std::vector<ExpertBatchView> views = {{first}, {other}, {same}};
  // Two run for the price of two loads; the third would bring two more: 2 * 2 * 10 ms against 1 + 2 * 10 ms.
  EXPECT_EQ(hold_back(views, resident, kSlowDisk, 4), (Indices{1}));
}

TEST(ExpertBatch, TheFirstAlwaysRunsAndSoDoesWhoIsNotKnown) {
  const Experts away = {0, 1, 2, 3}, none;
  const std::vector<std::uint8_t> resident(4, 0);
  const std::vector<ExpertBatchView> views = {{away}, {none}};
  EXPECT_EQ(hold_back(views, resident, kSlowDisk, 4), Indices{});
  EXPECT_EQ(hold_back(std::vector<ExpertBatchView>{}, resident, kSlowDisk, 4), Indices{});
}

TEST(ExpertBatch, NobodyIsHeldBackForLongerThanTheBound) {
  const Experts there = {0}, away = {1, 2, 3};
  const std::vector<std::uint8_t> resident = {1, 0, 0, 0};
  std::vector<ExpertBatchView> views = {{there}, {away}};
  for (std::int32_t held = 0; held < 4; ++held) {
    views[1].held_back = held;
    EXPECT_EQ(hold_back(views, resident, kSlowDisk, 3).size(), held < 3 ? 1u : 0u) << held;
  }
}

// The rule of the header, and the bound over many steps of made-up sequences.
TEST(ExpertBatch, WhoJoinsGainsAndNobodyStarves) {
  constexpr std::int32_t kExperts = 24, kBound = 5;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    std::vector<std::int32_t> held(6, 0);
    bool any = false;
    for (std::uint64_t step = 0; step < 40; ++step) {
      const auto draw = [&](std::uint64_t what, std::uint64_t of) {
        return static_cast<std::int32_t>(uniform01(seed * 1000 + step, what, of) * kExperts);
      };
      std::vector<std::uint8_t> resident;
      for (std::uint64_t e = 0; e < kExperts; ++e) resident.push_back(draw(1, e) % 2 == 0 ? 1 : 0);
      std::vector<Experts> experts(held.size());
      std::vector<ExpertBatchView> views;
      for (std::uint64_t s = 0; s < held.size(); ++s) {
        for (std::uint64_t i = 0; i < 4; ++i) experts[s].push_back(draw(2 + s, i));
      }
      for (std::size_t s = 0; s < held.size(); ++s) views.push_back({experts[s], held[s]});
      const ExpertBatchCost cost{0.002, 0.001 + 0.001 * static_cast<double>(seed % 7)};
      const Indices out = hold_back(views, resident, cost, kBound);
      any = any || !out.empty();
      EXPECT_EQ(std::set<std::size_t>(out.begin(), out.end()).size(), out.size());
      EXPECT_FALSE(std::set<std::size_t>(out.begin(), out.end()).contains(0));
      for (std::size_t s = 0; s < held.size(); ++s) {
        held[s] = std::find(out.begin(), out.end(), s) == out.end() ? 0 : held[s] + 1;
        ASSERT_LE(held[s], kBound);
      }
      EXPECT_EQ(hold_back(views, resident, cost, kBound), out) << "a pure function";
    }
    EXPECT_TRUE(any) << seed;
  }
}

}  // namespace
}  // namespace foregate
