// Plans that follow what is routed while a server runs: made beside it, handed over once, and counted.
#include "engine/runtime/placement_keeper.h"

#include <gtest/gtest.h>

#include "tests/engine/placement/planted_rows.h"

namespace foregate {
namespace {

struct Case {
  PlantedShape shape;
  Planted planted = planted_rows(shape, 5);
  std::vector<LayerId> layers;
  Metrics metrics;
  std::unique_ptr<PlacementKeeper> keeper;

  explicit Case(std::size_t max_moves) {
    for (std::int32_t l = 0; l < shape.layers; ++l) layers.push_back(LayerId{l});
    PlacementOptions options{.interval = 1'000'000, .window = 2048};
    options.replan.max_moves = max_moves;
    keeper = std::make_unique<PlacementKeeper>(first(), layers, shape.top_k, options, &metrics);
  }
  PlacementPlan first() const { return PlacementPlan::linear(shape.ranks, planted.rows.experts).value(); }
  double counted(const char* name) { return metrics.counter(name, "", {{"model_name", ""}}).value(); }

  // Steps of `count` rows each, from `row` on; without the last layers of each step.
  void tell(std::size_t row, std::size_t steps, std::size_t count, std::size_t missing = 0) {
    for (std::size_t s = 0; s < steps; ++s) {
      for (std::size_t l = 0; l + missing < layers.size(); ++l) {
        std::vector<std::int32_t> ids;
        for (std::size_t r = 0; r < count; ++r) {
          const auto of = planted.rows.of(l, (row + s * count + r) % planted.rows.rows());
          ids.insert(ids.end(), of.begin(), of.end());
        }
        keeper->routed(layers[l], ids);
      }
    }
  }
  std::shared_ptr<const PlacementPlan> wait_for_plan() {
    for (int i = 0; i < 10000; ++i) {
      if (auto plan = keeper->take()) return plan;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return nullptr;
  }
};

TEST(PlacementKeeper, ThePlacementHiddenInTheRowsComesOut) {
  Case c(1000);
  EXPECT_EQ(c.keeper->take(), nullptr) << "nothing was routed yet";
  c.tell(0, 100, 20);
  const auto plan = c.wait_for_plan();
  ASSERT_NE(plan, nullptr);
  const double best = measure(c.planted.homes, c.shape.ranks, c.planted.rows).distinct;
  EXPECT_LE(measure(*plan, c.layers, c.planted.rows).distinct, 1.05 * best);
  EXPECT_GT(measure(c.first(), c.layers, c.planted.rows).distinct, 1.2 * best) << "it was worth it";
  EXPECT_EQ(c.counted("foregate_placement_plans"), 1);
  EXPECT_GT(c.counted("foregate_placement_moves"), 20);
}

TEST(PlacementKeeper, ManyMovesTakeManyPlans) {
  Case c(10);
  for (int plans = 1; plans <= 3; ++plans) {
    c.tell(0, 30, 20);
    ASSERT_NE(c.wait_for_plan(), nullptr);
    EXPECT_EQ(c.counted("foregate_placement_plans"), plans);
    EXPECT_LE(c.counted("foregate_placement_moves"), 10 * plans);
  }
}

TEST(PlacementKeeper, StepsThatEndEarlyAreForgotten) {
  Case c(1000);
  c.tell(0, 100, 20, 2);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(c.keeper->take(), nullptr);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  c.tell(0, 12, 20);
  EXPECT_EQ(c.keeper->take(), nullptr) << "240 rows are too few";
}

}  // namespace
}  // namespace foregate
