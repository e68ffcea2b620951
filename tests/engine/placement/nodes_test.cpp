// Ranks on several nodes: experts go to nodes first, so that less crosses between those.
#include <gtest/gtest.h>

#include "engine/placement/solver.h"
#include "tests/engine/placement/planted_rows.h"

namespace foregate {
namespace {

// Rows that belong to one of eight ranks, or, where they go astray, mostly to another of the same node of two.
Planted nested_rows(std::uint64_t seed) {
  constexpr std::int32_t kExperts = 32, kRanks = 8, kLayers = 5;
  Draws draws(seed, 3);
  Planted planted;
  planted.rows.top_k = 2;
  for (std::int32_t l = 0; l < kLayers; ++l) {
    planted.homes.push_back(shuffled_homes(kExperts, kRanks, draws));
    planted.rows.experts.push_back(kExperts);
    planted.rows.ids.emplace_back();
  }
  for (int row = 0; row < 3000; ++row) {
    const auto own = static_cast<std::int32_t>(draws.below(kRanks));
    for (std::size_t l = 0; l < kLayers; ++l) {
      std::vector<std::uint16_t> chosen;
      while (chosen.size() < 2) {
        const auto e = static_cast<std::uint16_t>(draws.below(kExperts));
        const std::int32_t home = planted.homes[l][e];
        const std::size_t wanted = home == own ? 100 : home / 4 == own / 4 ? 20 : 1;
        if (draws.below(100) >= wanted || (!chosen.empty() && chosen[0] == e)) continue;
        chosen.push_back(e);
      }
      planted.rows.ids[l].insert(planted.rows.ids[l].end(), chosen.begin(), chosen.end());
    }
  }
  return planted;
}

TEST(Nodes, LessCrossesBetweenThemThanPlantedWithinThreePercent) {
  for (const Objective objective : {Objective::kTokenStays, Objective::kDistinctDevices}) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      const Planted planted = nested_rows(seed);
      SolverOptions options{.objective = objective, .ranks = 8, .nodes = 2};
      const auto nested = solve_placement(planted.rows, options);
      ASSERT_TRUE(nested.ok()) << nested.status().to_string();
      const bool stays = objective == Objective::kTokenStays;
      const auto of = [stays](const PlacementFigures& f) { return stays ? f.crossings : f.distinct; };
      const PlacementFigures between = measure(nodes_of(planted.homes, 8, 2), 2, planted.rows);
      const PlacementFigures within = measure(planted.homes, 8, planted.rows);
      EXPECT_LE(of(nested->between_nodes), 1.03 * of(between)) << objective_name(objective) << " " << seed;
      EXPECT_LE(of(nested->figures), 1.03 * of(within)) << objective_name(objective) << " " << seed;
      EXPECT_LE(nested->figures.imbalance, 1.1 + 1e-6);
      for (const LayerHomes& homes : nested->homes) {
        for (std::int32_t r = 0; r < 8; ++r) EXPECT_EQ(std::count(homes.begin(), homes.end(), r), 4);
      }
    }
  }
}

// Without nodes the names of ranks are as they come, and more crosses between what would be nodes.
TEST(Nodes, OneStepAloneCrossesMore) {
  const Planted planted = nested_rows(7);
  SolverOptions options{.ranks = 8};
  const auto flat = solve_placement(planted.rows, options);
  options.nodes = 2;
  const auto nested = solve_placement(planted.rows, options);
  ASSERT_TRUE(flat.ok() && nested.ok());
  const PlacementFigures between = measure(nodes_of(flat->homes, 8, 2), 2, planted.rows);
  EXPECT_LT(nested->between_nodes.crossings, 0.9 * between.crossings);
  EXPECT_DOUBLE_EQ(flat->between_nodes.crossings, 0.0) << "one node";
}

TEST(Nodes, AreFilledEvenly) {
  const Planted planted = nested_rows(0);
  for (const std::int32_t nodes : {0, 3, 16}) {
    const auto refused = solve_placement(planted.rows, {.ranks = 8, .nodes = nodes});
    EXPECT_EQ(refused.status().field(), "nodes");
  }
}

}  // namespace
}  // namespace foregate
