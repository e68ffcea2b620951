// The solver against exact ones at small size and against placements hidden in the rows; the bounds against both.
#include "engine/placement/solver.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "engine/placement/assignment.h"
#include "engine/placement/bound.h"
#include "engine/placement/stays_search.h"
#include "tests/engine/placement/planted_rows.h"

namespace foregate {
namespace {

// Every placement of the experts with the same number on each rank.
std::vector<LayerHomes> all_placements(std::int32_t experts, std::int32_t ranks) {
  std::vector<LayerHomes> all;
  LayerHomes homes;
  std::vector<std::int32_t> room(static_cast<std::size_t>(ranks), experts / ranks);
  const std::function<void()> extend = [&] {
    if (static_cast<std::int32_t>(homes.size()) == experts) {
      all.push_back(homes);
      return;
    }
    for (std::int32_t r = 0; r < ranks; ++r) {
      if (room[static_cast<std::size_t>(r)] == 0) continue;
      --room[static_cast<std::size_t>(r)];
      homes.push_back(r);
      extend();
      homes.pop_back();
      ++room[static_cast<std::size_t>(r)];
    }
  };
  extend();
  return all;
}

// Least crossings of any placement: a shortest path through the layers, whose nodes are all their placements.
double fewest_crossings(const RouteRows& rows, std::int32_t ranks) {
  const Affinity affinity = count_affinity(rows);
  const auto all = all_placements(rows.experts[0], ranks);
  std::vector<double> cost(all.size(), 0.0);
  for (std::size_t l = 0; l + 1 < rows.layers(); ++l) {
    std::vector<double> next(all.size(), std::numeric_limits<double>::infinity());
    const auto& counts = affinity.layers[l].next;
    for (std::size_t to = 0; to < all.size(); ++to) {
      for (std::size_t from = 0; from < all.size(); ++from) {
        double crossed = 0.0;
        for (std::size_t i = 0; i < counts.size(); ++i) {
          const std::size_t n = all[to].size();
          if (all[from][i / n] != all[to][i % n]) crossed += counts[i];
        }
        next[to] = std::min(next[to], cost[from] + crossed);
      }
    }
    cost = std::move(next);
  }
  return *std::min_element(cost.begin(), cost.end()) / (affinity.rows * static_cast<double>(rows.layers() - 1));
}

double fewest_ranks(const RouteRows& rows, std::int32_t ranks) {
  double sum = 0.0;
  for (std::size_t l = 0; l < rows.layers(); ++l) {
    RouteRows layer;
    layer.top_k = rows.top_k;
    layer.experts = {rows.experts[l]};
    layer.ids = {rows.ids[l]};
    double best = ranks;
    for (const LayerHomes& homes : all_placements(rows.experts[l], ranks)) {
      best = std::min(best, measure({homes}, ranks, layer).distinct);
    }
    sum += best / static_cast<double>(rows.layers());
  }
  return sum;
}

SolverOptions options_for(Objective objective, std::int32_t ranks) {
  SolverOptions options;
  options.objective = objective;
  options.ranks = ranks;
  return options;
}

TEST(CheapestAssignment, IsTheCheapestOfAll) {
  Draws draws(3, 0);
  for (const auto& [experts, ranks] : {std::pair{6, 2}, {6, 3}, {4, 4}, {8, 2}}) {
    const auto all = all_placements(experts, ranks);
    for (int round = 0; round < 40; ++round) {
      std::vector<double> costs(static_cast<std::size_t>(experts * ranks));
      for (double& cost : costs) cost = static_cast<double>(draws.below(round < 20 ? 4 : 1000)) - 2.0;
      const auto sum = [&](const LayerHomes& homes) {
        double total = 0.0;
        for (std::size_t e = 0; e < homes.size(); ++e) {
          total += costs[e * static_cast<std::size_t>(ranks) + static_cast<std::size_t>(homes[e])];
        }
        return total;
      };
      double best = std::numeric_limits<double>::infinity();
      for (const LayerHomes& homes : all) best = std::min(best, sum(homes));
      const auto found = cheapest_assignment(costs, ranks, experts / ranks);
      for (std::int32_t r = 0; r < ranks; ++r) ASSERT_EQ(std::count(found.begin(), found.end(), r), experts / ranks);
      ASSERT_NEAR(sum(found), best, 1e-9) << experts << " " << ranks << " " << round;
    }
  }
}

TEST(Eigenvalues, AreThoseOfKnownMatrices) {
  // The path of n nodes: 2 cos(pi i / (n + 1)).
  constexpr std::size_t n = 7;
  std::vector<double> path(n * n, 0.0);
  for (std::size_t i = 0; i + 1 < n; ++i) path[i * n + i + 1] = path[(i + 1) * n + i] = 1.0;
  const auto values = symmetric_eigenvalues(path, n);
  for (std::size_t i = 0; i < n; ++i) {
    EXPECT_NEAR(values[i], 2 * std::cos(std::acos(-1.0) * static_cast<double>(i + 1) / (n + 1)), 1e-8);
  }
  // A dense one: trace and sum of squares are those of the matrix.
  Draws draws(9, 0);
  std::vector<double> dense(20 * 20);
  double trace = 0.0, squares = 0.0;
  for (std::size_t i = 0; i < 20; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      dense[i * 20 + j] = dense[j * 20 + i] = static_cast<double>(draws.below(100)) - 50.0;
    }
    trace += dense[i * 20 + i];
  }
  for (const double x : dense) squares += x * x;
  for (const double value : symmetric_eigenvalues(dense, 20)) {
    trace -= value;
    squares -= value * value;
  }
  EXPECT_NEAR(trace, 0.0, 1e-5);
  EXPECT_NEAR(squares, 0.0, 1e-3);
}

TEST(Solver, FindsTheBestPlacementOfSmallModels) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const double astray = 0.1 * static_cast<double>(seed % 6) + 0.1;
    const std::int32_t top_k = seed % 2 == 0 ? 1 : 2;
    const Planted planted =
        planted_rows({.layers = 4, .experts = 8, .ranks = 2, .top_k = top_k, .rows = 300, .astray = astray}, seed);
    SolverOptions options = options_for(Objective::kTokenStays, 2);
    options.max_imbalance = 100.0;  // the exact solver does not know loads
    auto stays = solve_placement(planted.rows, options);
    ASSERT_TRUE(stays.ok()) << stays.status().to_string();
    const double fewest = fewest_crossings(planted.rows, 2);
    EXPECT_NEAR(stays->figures.crossings, fewest, 1e-6) << seed;
    EXPECT_LE(stays->bound, fewest + 1e-6) << seed;
    if (top_k == 1) continue;
    options.objective = Objective::kDistinctDevices;
    auto near = solve_placement(planted.rows, options);
    ASSERT_TRUE(near.ok());
    const double least = fewest_ranks(planted.rows, 2);
    EXPECT_NEAR(near->figures.distinct, least, 1e-6) << seed;
    EXPECT_LE(near->bound, least + 1e-6) << seed;
  }
}

TEST(Solver, FindsThePlantedPlacement) {
  for (const auto& [top_k, astray] : {std::pair{1, 0.3}, {2, 0.2}, {4, 0.3}, {8, 0.5}}) {
    const Planted planted =
        planted_rows({.layers = 12, .experts = 64, .ranks = 8, .top_k = top_k, .rows = 6000, .astray = astray}, 17);
    const auto hidden = measure(planted.homes, 8, planted.rows);
    auto stays = solve_placement(planted.rows, options_for(Objective::kTokenStays, 8));
    ASSERT_TRUE(stays.ok());
    EXPECT_LE(stays->figures.crossings, hidden.crossings * 1.03) << top_k;
    EXPECT_LE(stays->bound, hidden.crossings + 1e-9) << top_k;
    EXPECT_LE(stays->figures.imbalance, std::max(1.1, hidden.imbalance) + 1e-6) << top_k;
    if (top_k == 1) continue;
    auto near = solve_placement(planted.rows, options_for(Objective::kDistinctDevices, 8));
    ASSERT_TRUE(near.ok());
    EXPECT_LE(near->figures.distinct, hidden.distinct * 1.03) << top_k;
    EXPECT_LE(near->bound, hidden.distinct + 1e-9) << top_k;
  }
}

TEST(Solver, IsTheSameEveryTimeAndPlacesEveryExpert) {
  Planted planted = planted_rows({.layers = 3, .experts = 10, .ranks = 2, .top_k = 2, .rows = 500}, 2);
  for (const Objective objective : {Objective::kTokenStays, Objective::kDistinctDevices}) {
    auto once = solve_placement(planted.rows, options_for(objective, 4));  // 10 experts on 4 ranks
    auto again = solve_placement(planted.rows, options_for(objective, 4));
    ASSERT_TRUE(once.ok() && again.ok());
    EXPECT_EQ(once->homes, again->homes);
    for (const LayerHomes& homes : once->homes) {
      ASSERT_EQ(homes.size(), 10u);
      for (std::int32_t r = 0; r < 4; ++r) EXPECT_LE(std::count(homes.begin(), homes.end(), r), 3);
    }
  }
}

TEST(Solver, KeepsTheLoadEvenWhereExpertsAreNot) {
  // Experts 0 to 3 are chosen together and far more often: alone the affinity would put them on one rank.
  RouteRows rows;
  rows.top_k = 2;
  rows.experts = {16, 16};
  rows.ids.resize(2);
  Draws draws(4, 0);
  for (int row = 0; row < 2000; ++row) {
    const bool hot = draws.below(10) < 6;
    const std::size_t first = hot ? draws.below(4) : 4 + draws.below(12);
    const std::size_t second = hot ? (first + 1 + draws.below(3)) % 4 : 4 + (first - 4 + 1 + draws.below(11)) % 12;
    for (auto& ids : rows.ids) {
      ids.push_back(static_cast<std::uint16_t>(first));
      ids.push_back(static_cast<std::uint16_t>(second));
    }
  }
  for (const Objective objective : {Objective::kTokenStays, Objective::kDistinctDevices}) {
    SolverOptions options = options_for(objective, 4);
    auto even = solve_placement(rows, options);
    options.max_imbalance = 100.0;
    auto uneven = solve_placement(rows, options);
    ASSERT_TRUE(even.ok() && uneven.ok());
    EXPECT_LE(even->figures.imbalance, 1.1) << objective_name(objective);
    EXPECT_GT(uneven->figures.imbalance, 2.0) << objective_name(objective);
    EXPECT_LT(uneven->objective(objective), even->objective(objective));
  }
}

TEST(Solver, RefusesRowsThatAreNone) {
  RouteRows rows = planted_rows({.layers = 2, .experts = 8, .ranks = 2, .top_k = 2, .rows = 10}, 1).rows;
  EXPECT_EQ(solve_placement(rows, options_for(Objective::kTokenStays, 0)).status().field(), "ranks");
  EXPECT_EQ(solve_placement(rows, options_for(Objective::kTokenStays, 9)).status().field(), "ranks");
  RouteRows short_layer = rows;
  short_layer.ids[1].pop_back();
  EXPECT_FALSE(solve_placement(short_layer, options_for(Objective::kTokenStays, 2)).ok());
  RouteRows stranger = rows;
  stranger.ids[1][3] = 8;
  EXPECT_FALSE(solve_placement(stranger, options_for(Objective::kTokenStays, 2)).ok());
  EXPECT_FALSE(solve_placement({}, options_for(Objective::kTokenStays, 2)).ok());
  EXPECT_TRUE(objective_named("distinct-devices").ok());
  EXPECT_EQ(objective_named("none").status().field(), "objective");
}

TEST(AlignRanks, RenamesWithoutMovingExperts) {
  const Planted planted = planted_rows({.layers = 4, .experts = 16, .ranks = 4, .top_k = 1, .rows = 1000}, 8);
  std::vector<LayerHomes> renamed = planted.homes;
  for (std::int32_t& rank : renamed[2]) rank = (rank + 1) % 4;
  EXPECT_GT(measure(renamed, 4, planted.rows).crossings, measure(planted.homes, 4, planted.rows).crossings + 0.2);
  EXPECT_TRUE(align_ranks(count_affinity(planted.rows), 4, renamed));
  EXPECT_EQ(renamed, planted.homes);
}

}  // namespace
}  // namespace foregate
