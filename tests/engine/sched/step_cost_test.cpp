#include "engine/sched/step_cost.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

TEST(StepCost, NothingIsKnownAtFirst) {
  StepCost cost;
  EXPECT_FALSE(cost.known());
  EXPECT_EQ(cost.seconds(10), 0.0);
  cost.add(0, 1.0);
  cost.add(4, -1.0);
  EXPECT_FALSE(cost.known()) << "no step has no rows or ends before it began";
}

TEST(StepCost, LinesBetweenSizesThatRan) {
  StepCost cost;
  cost.add(1, 0.010);
  cost.add(101, 0.110);
  EXPECT_DOUBLE_EQ(cost.seconds(1), 0.010);
  EXPECT_NEAR(cost.seconds(51), 0.060, 1e-12);
  EXPECT_NEAR(cost.seconds(202), 0.220, 1e-12) << "in proportion beyond";
  EXPECT_EQ(cost.rows_within(0.0601, 512), 51);
  EXPECT_EQ(cost.rows_within(0.0601, 20), 20);
  EXPECT_EQ(cost.rows_within(0.001, 512), 1) << "one row always runs";
}

TEST(StepCost, MoreRowsNeverTakeLess) {
  StepCost cost;
  cost.add(4, 0.5);
  cost.add(64, 0.1);  // the first steps are slow
  EXPECT_GE(cost.seconds(64), cost.seconds(4));
  for (int i = 0; i < 100; ++i) cost.add(4, 0.02);
  EXPECT_NEAR(cost.seconds(4), 0.02, 0.001) << "what is new weighs more";
}

TEST(StepCost, ChunksAddUp) {
  StepCost cost;
  cost.add(10, 1.0);
  cost.add(100, 10.0);
  EXPECT_NEAR(cost.recompute_seconds(250, 100), 25.0, 1e-9);
}

TEST(StepCost, SwappingIsChosenWhereTheCopiesTakeLess) {
  StepCost steps;
  CopyRate copies;
  EXPECT_FALSE(swap_is_cheaper(steps, copies, 100, 512, 1000)) << "nothing is known";
  steps.add(100, 1.0);
  EXPECT_FALSE(swap_is_cheaper(steps, copies, 100, 512, 1000));
  copies.add(1000, 0.25);
  EXPECT_TRUE(swap_is_cheaper(steps, copies, 100, 512, 1000)) << "out and back in half a second";
  EXPECT_FALSE(swap_is_cheaper(steps, copies, 100, 512, 2000));
  EXPECT_TRUE(swap_is_cheaper(steps, copies, 1000, 100, 2000)) << "more to compute";
}

}  // namespace
}  // namespace foregate
