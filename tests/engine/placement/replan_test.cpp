// Plans that follow what is routed: bounded moves, nothing for little, and the placement hidden in the rows in the end.
#include "engine/placement/replan.h"

#include <gtest/gtest.h>

#include "tests/engine/placement/planted_rows.h"

namespace foregate {
namespace {

std::vector<LayerId> layers_of(const RouteRows& rows) {
  std::vector<LayerId> layers;
  for (std::size_t l = 0; l < rows.layers(); ++l) layers.push_back(LayerId{static_cast<std::int32_t>(l)});
  return layers;
}

PlacementPlan linear(const RouteRows& rows, std::int32_t ranks) {
  auto plan = PlacementPlan::linear(ranks, rows.experts);
  EXPECT_TRUE(plan.ok());
  return std::move(plan).value();
}

std::size_t new_places(const PlacementPlan& before, const PlacementPlan& after) {
  std::size_t moves = 0;
  for (std::int32_t l = 0; l < static_cast<std::int32_t>(before.layers()); ++l) {
    for (std::int32_t r = 0; r < before.ranks(); ++r) {
      for (const std::int32_t e : after.held(RankId{r}, LayerId{l})) {
        moves += before.holds(RankId{r}, LayerId{l}, ExpertId{e}) ? 0 : 1;
      }
    }
  }
  return moves;
}

TEST(Replan, StepsOfFewMovesReachThePlantedPlacement) {
  const PlantedShape shape;
  const Planted planted = planted_rows(shape, 3);
  const auto layers = layers_of(planted.rows);
  const double best = measure(planted.homes, shape.ranks, planted.rows).distinct;
  PlacementPlan plan = linear(planted.rows, shape.ranks);
  double last = measure(plan, layers, planted.rows).distinct;
  const ReplanOptions options{.max_moves = 20, .hysteresis = 0.001};
  int steps = 0;
  while (true) {
    auto next = replan(plan, layers, planted.rows, options);
    ASSERT_TRUE(next.ok()) << next.status().to_string();
    if (!*next) break;
    EXPECT_LE((*next)->moves, options.max_moves);
    EXPECT_EQ((*next)->moves, new_places(plan, (*next)->plan));
    EXPECT_DOUBLE_EQ((*next)->before, last);
    EXPECT_LT((*next)->target, last);
    for (std::int32_t l = 0; l < shape.layers; ++l) {
      for (std::int32_t r = 0; r < shape.ranks; ++r) {
        EXPECT_EQ((*next)->plan.held(RankId{r}, LayerId{l}).size(), 8u) << "every rank keeps its number";
      }
    }
    plan = (*next)->plan;
    last = (*next)->after;
    ASSERT_LT(++steps, 100);
  }
  EXPECT_GT(steps, 3) << "one is not enough";
  EXPECT_LE(last, best * 1.03);
}

TEST(Replan, WhatIsWorthLittleIsLeftAsItIs) {
  const PlantedShape shape;
  const Planted planted = planted_rows(shape, 3);
  const auto layers = layers_of(planted.rows);
  auto good = PlacementPlan::create(shape.ranks, planted.homes);
  ASSERT_TRUE(good.ok());
  auto stays = replan(*good, layers, planted.rows, {.max_moves = 1000});
  ASSERT_TRUE(stays.ok());
  EXPECT_FALSE(stays->has_value());
  auto none = replan(linear(planted.rows, shape.ranks), layers, planted.rows, {.max_moves = 0});
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
  auto high = replan(linear(planted.rows, shape.ranks), layers, planted.rows, {.max_moves = 1000, .hysteresis = 0.99});
  ASSERT_TRUE(high.ok());
  EXPECT_FALSE(high->has_value());
}

TEST(Replan, CopiesAreMovesToo) {
  const PlantedShape shape;
  const Planted planted = planted_rows(shape, 3);
  const auto layers = layers_of(planted.rows);
  const PlacementPlan plan = linear(planted.rows, shape.ranks);
  auto next = replan(plan, layers, planted.rows, {.max_moves = 500, .hysteresis = 0.0, .copies = 2});
  ASSERT_TRUE(next.ok() && next->has_value());
  EXPECT_FALSE((*next)->plan.copies().empty());
  EXPECT_EQ((*next)->moves, new_places(plan, (*next)->plan));
  auto few = replan((*next)->plan, layers, planted.rows, {.max_moves = 3, .hysteresis = -1.0, .copies = 3});
  ASSERT_TRUE(few.ok() && few->has_value());
  EXPECT_EQ((*few)->moves, 3u);
}

}  // namespace
}  // namespace foregate
