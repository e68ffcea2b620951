// Counts of routed rows, and the figures of a placement, against their definitions.
#include <gtest/gtest.h>

#include "engine/placement/measure.h"
#include "engine/placement/replicate.h"
#include "tests/engine/placement/planted_rows.h"

namespace foregate {
namespace {

RouteRows two_rows() {
  RouteRows rows;
  rows.top_k = 2;
  rows.experts = {4, 3};
  rows.ids = {{0, 1, 1, 3}, {2, 0, 0, 1}};
  return rows;
}

TEST(Affinity, CountsPairsWithinAndAcrossLayers) {
  const Affinity affinity = count_affinity(two_rows());
  EXPECT_EQ(affinity.rows, 2.0);
  const LayerAffinity& first = affinity.layers[0];
  EXPECT_EQ(first.uses, (std::vector<float>{1, 2, 0, 1}));
  EXPECT_EQ(first.together, (std::vector<float>{0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0}));
  EXPECT_EQ(first.next, (std::vector<float>{.25f, 0, .25f, .5f, .25f, .25f, 0, 0, 0, .25f, .25f, 0}));
  EXPECT_TRUE(affinity.layers[1].next.empty());
}

TEST(Affinity, OlderRowsWeighLess) {
  RouteRows rows = two_rows();
  decay(rows, 1.0);
  EXPECT_EQ(rows.weights, (std::vector<float>{0.5f, 1.0f}));
  EXPECT_EQ(count_affinity(rows).layers[0].uses, (std::vector<float>{0.5f, 1.5f, 0, 1}));
  decay(rows, 0.0);
  EXPECT_EQ(count_affinity(rows).layers[0].uses, (std::vector<float>{1, 2, 0, 1}));
}

TEST(Measure, CountsCrossingsRanksAndLoad) {
  const RouteRows rows = two_rows();
  // Layer 0: experts 0 and 1 on rank 0, 2 and 3 on rank 1. Layer 1: expert 0 on rank 0, others on rank 1.
  const auto figures = measure({{0, 0, 1, 1}, {0, 1, 1}}, 2, rows);
  EXPECT_DOUBLE_EQ(figures.crossings, (2.0 + 2.0) / 8.0);
  EXPECT_DOUBLE_EQ(figures.distinct, (1.0 + 2.0 + 2.0 + 2.0) / 4.0);
  EXPECT_DOUBLE_EQ(figures.imbalance, 3.0 / 2.0);
  EXPECT_DOUBLE_EQ(figures.mean_imbalance, (1.5 + 1.0) / 2);
}

TEST(Measure, ARowUsesACopyWhereItIsAnyway) {
  const RouteRows rows = two_rows();
  const std::vector<LayerId> layers = {LayerId{0}, LayerId{2}};
  auto plan = PlacementPlan::create(2, {{0, 0, 1, 1}, {}, {0, 1, 1}}, {{LayerId{0}, ExpertId{1}, RankId{1}}});
  ASSERT_TRUE(plan.ok());
  const auto figures = measure(*plan, layers, rows);
  EXPECT_DOUBLE_EQ(figures.distinct, (1.0 + 1.0 + 2.0 + 2.0) / 4.0);  // the second row stays on rank 1
  EXPECT_DOUBLE_EQ(figures.imbalance, 1.0);
}

TEST(Replicate, RelievesTheRankOfAHotExpert) {
  RouteRows rows;
  rows.experts = {4};
  rows.ids.resize(1);
  for (int i = 0; i < 120; ++i) rows.ids[0].push_back(static_cast<std::uint16_t>(i % 2 == 0 ? 0 : i % 4));
  const std::vector<LayerId> layers = {LayerId{0}};
  auto plan = PlacementPlan::create(2, {{0, 0, 1, 1}});
  const double before = measure(*plan, layers, rows).imbalance;
  auto copied = replicate(*plan, layers, rows, {.per_rank = 1, .max_imbalance = 1.1});
  ASSERT_TRUE(copied.ok());
  ASSERT_FALSE(copied->copies().empty());
  EXPECT_EQ(copied->copies()[0], (ExpertCopy{LayerId{0}, ExpertId{0}, RankId{1}}));
  EXPECT_GT(before, 1.4);
  EXPECT_LE(measure(*copied, layers, rows).imbalance, 1.1);
}

TEST(Replicate, SparesRowsARankAndKeepsItsRoom) {
  const Planted planted = planted_rows({.layers = 3, .experts = 16, .ranks = 4, .top_k = 3, .rows = 800}, 5);
  const std::vector<LayerId> layers = {LayerId{0}, LayerId{1}, LayerId{2}};
  auto plan = PlacementPlan::create(4, planted.homes);
  double last = measure(*plan, layers, planted.rows).distinct;
  for (const std::int32_t room : {1, 3, 12}) {
    auto copied = replicate(*plan, layers, planted.rows, {.per_rank = room, .max_imbalance = 1.3});
    ASSERT_TRUE(copied.ok());
    for (const LayerId layer : layers) {
      for (std::int32_t r = 0; r < 4; ++r) EXPECT_LE(copied->held(RankId{r}, layer).size(), 4u + room);
    }
    const double now = measure(*copied, layers, planted.rows).distinct;
    EXPECT_LT(now, last) << room;
    last = now;
  }
  EXPECT_FALSE(replicate(*plan, layers, planted.rows, {.per_rank = -1}).ok());
}

}  // namespace
}  // namespace foregate
