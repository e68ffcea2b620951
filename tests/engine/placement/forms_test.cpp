// What the two forms of an exchange send, on rows small enough to count by hand, and what affinity is worth to each.
#include "engine/placement/forms.h"

#include <gtest/gtest.h>

#include "engine/placement/solver.h"
#include "tests/engine/placement/planted_rows.h"

namespace foregate {
namespace {

constexpr RowShape kShape{.hidden = 10, .context = 3, .value_bytes = 2};

RouteRows rows_of(std::int32_t top_k, std::vector<std::vector<std::uint16_t>> ids) {
  RouteRows rows;
  rows.top_k = top_k;
  rows.experts.assign(ids.size(), 4);
  rows.ids = std::move(ids);
  return rows;
}

const std::vector<LayerHomes> kHomes = {{0, 0, 1, 1}, {0, 0, 1, 1}, {0, 0, 1, 1}};

TEST(Forms, ATokenOfTopOneReturnsOrStays) {
  // Row 0 is at home on rank 0, row 1 on rank 1; both go through ranks 1, 1, 0.
  const RouteRows rows = rows_of(1, {{2, 2}, {3, 3}, {0, 0}});
  const FormForecast forecast = forecast_forms(kHomes, 2, rows, kShape);
  // There and back: row 0 in the first two layers, row 1 in the last.
  EXPECT_DOUBLE_EQ(forecast.two.rows, (4 + 2) / 2.0);
  EXPECT_DOUBLE_EQ(forecast.two.context_bytes, 0);
  EXPECT_DOUBLE_EQ(forecast.two.bytes, 3 * 10 * 2);
  // Row 0 moves to rank 1 and back to 0, row 1 to rank 0.
  EXPECT_DOUBLE_EQ(forecast.one.rows, (2 + 1) / 2.0);
  EXPECT_DOUBLE_EQ(forecast.one.context_bytes, 3 * 3 * 2);
  EXPECT_DOUBLE_EQ(forecast.one.bytes, (1.5 * 10 + 9) * 2);
  EXPECT_EQ(forecast.better(), ExchangeForm::kOneAllToAll);
}

TEST(Forms, ContextCountsAgainstOneAllToAll) {
  const RouteRows rows = rows_of(1, {{2, 2}, {3, 3}, {0, 0}});
  RowShape wide = kShape;
  wide.context = 6;
  EXPECT_EQ(forecast_forms(kHomes, 2, rows, wide).better(), ExchangeForm::kTwoAllToAlls) << "15 + 18 against 30";
}

TEST(Forms, OfTopTwoARowFollowsMostOfItsExperts) {
  // Both experts on rank 1, then one on each, then both on rank 0.
  const RouteRows rows = rows_of(2, {{2, 3}, {0, 2}, {0, 1}});
  const FormForecast forecast = forecast_forms(kHomes, 2, rows, kShape);
  EXPECT_DOUBLE_EQ(forecast.two.rows, 2 + 2 + 0);
  EXPECT_DOUBLE_EQ(forecast.one.rows, 1 + 2 + 1) << "it moves, stays with one of the two, moves";
}

TEST(Forms, WeightsCount) {
  RouteRows rows = rows_of(1, {{0, 2}});
  rows.weights = {3.0f, 1.0f};  // row 0 stays at home; so does row 1
  EXPECT_DOUBLE_EQ(forecast_forms(kHomes, 2, rows, kShape).two.rows, 0);
  rows.ids = {{2, 2}};  // row 0 does not
  EXPECT_DOUBLE_EQ(forecast_forms(kHomes, 2, rows, kShape).two.rows, 2 * 3 / 4.0);
}

// Token-stays placements are made for one all-to-all: with top-1 it sends far less than half of what returning does.
TEST(Forms, PlacedByAffinityOneAllToAllSendsLess) {
  PlantedShape planted;
  planted.top_k = 1;
  const Planted made = planted_rows(planted, 7);
  SolverOptions options;
  options.ranks = planted.ranks;
  const auto solution = solve_placement(made.rows, options);
  ASSERT_TRUE(solution.ok());
  const RowShape shape{.hidden = 64, .context = 0, .value_bytes = 4};
  const FormForecast forecast = forecast_forms(solution->homes, options.ranks, made.rows, shape);
  EXPECT_LE(forecast.one.bytes, 0.6 * forecast.two.bytes);
  EXPECT_NEAR(forecast.one.rows,
              solution->figures.crossings * static_cast<double>(made.rows.layers() - 1) + 1.0 - 1.0 / options.ranks,
              0.05)
      << "its crossings, and the way from home to the first expert";
}

}  // namespace
}  // namespace foregate
