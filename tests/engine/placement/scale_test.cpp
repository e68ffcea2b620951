// The scale model on figures that can be worked out by hand, and the directions in which it must move.
#include "engine/placement/scale.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace foregate {
namespace {

ScaleModel model() {
  return {.sparse_layers = 10,
          .hidden = 1000,
          .experts = 64,
          .top_k = 4,
          .expert_bytes = 1e6,
          .layer_bytes = 2e6,
          .head_bytes = 5e6,
          .weight_bytes_per_value = 2,
          .row_value_bytes = 2,
          .context_bytes = 100};
}
constexpr ScaleRank kRank{.bytes_per_second = 1e9, .flops_per_second = 1e15, .layer_seconds = 1e-5};

TEST(Scale, OneRankReadsWhatOneRowNeeds) {
  const StepTimes times = step_times(model(), kRank, {.ranks = 1}, {.rows = 1, .context = 1000});
  EXPECT_NEAR(times.dense, 10 * (2e-3 + 1e-5) + 5e-3 + 1e-4, 1e-9);
  EXPECT_NEAR(times.experts, 10 * (4e-3 + 1e-5), 1e-9) << "four experts of a megabyte, in each layer";
  EXPECT_DOUBLE_EQ(times.exchange, 0);
}

TEST(Scale, ManyRowsMeetAllExpertsAndTheArithmeticCounts) {
  ScaleRank slow = kRank;
  slow.flops_per_second = 1e9;
  const StepTimes times = step_times(model(), slow, {.ranks = 1}, {.rows = 1000});
  EXPECT_NEAR(times.experts, 10 * (2.0 * 1000 * 4 * 1e6 / 2 / 1e9 + 1e-5), 1e-6);
}

TEST(Scale, AnExchangeIsTwoMessagesOfItsRows) {
  const ScaleFabric fabric{.ranks = 2, .ranks_per_node = 2, .near = {1e-6, 1e9}, .far = {1e-3, 1e6}};
  const StepTimes times = step_times(model(), kRank, fabric, {.rows = 8, .distinct = 1.5});
  // A rank has 4 rows, each on 1.5 ranks, half of which are the other one: 3 rows of 2000 bytes, there and back.
  EXPECT_NEAR(times.exchange, 10 * 2 * (1e-6 + 6000 / 1e9), 1e-12);
  ScaleFabric apart = fabric;
  apart.ranks_per_node = 1;
  EXPECT_NEAR(step_times(model(), kRank, apart, {.rows = 8, .distinct = 1.5}).exchange, 10 * 2 * (1e-3 + 6e-3), 1e-9);
}

TEST(Scale, MoreRanksComputeLessAndSendMore) {
  StepTimes last{.experts = 1e9};
  for (const std::int32_t ranks : {2, 4, 8, 16, 32}) {
    const ScaleFabric fabric{.ranks = ranks, .near = {1e-6, 4e11}, .far = {1e-5, 5e10}};
    const StepTimes times = step_times(model(), kRank, fabric, {.rows = 256});
    EXPECT_LT(times.experts, last.experts);
    EXPECT_GT(times.exchange, 0);
    last = times;
  }
}

TEST(Scale, WhatEvenChoicesMeet) {
  EXPECT_DOUBLE_EQ(experts_met(64, 4, 1), 4);
  EXPECT_NEAR(experts_met(64, 4, 10000), 64, 1e-9);
  EXPECT_DOUBLE_EQ(ranks_met(16, 1, 4), 1);
  EXPECT_DOUBLE_EQ(ranks_met(16, 16, 4), 4);
  EXPECT_NEAR(ranks_met(4, 2, 2), 2 * (1 - 2.0 / 4 * 1.0 / 3), 1e-12);
}

TEST(Scale, AStarOfOneRankIsItsWorkAndMoreRanksShareIt) {
  StarRanks star{.layers = 3,
                 .experts = 8,
                 .top_k = 2,
                 .ranks = 1,
                 .cores = 4,
                 .dense_seconds = 1.0,
                 .expert_seconds = 0.5,
                 .row_bytes = 10,
                 .link = {0.01, 1e3}};
  EXPECT_NEAR(star_times(star, 1).step(), 1.0 + 3 * 2 * 0.5, 1e-9);
  star.ranks = 8;
  star.cores = 8;
  const StepTimes spread = star_times(star, 1);
  EXPECT_NEAR(spread.experts, 3 * 0.5, 1e-9) << "two experts on two ranks, each beside the other";
  // Whoever is asked gets a row after 0.02 s and gives one back in as long: one quarter of the rows have an expert at
  // home, which is done meanwhile. Of two others the second is asked 0.01 s later.
  EXPECT_NEAR(spread.exchange, 3 * (0.04 + 0.75 * 0.01), 1e-3);
  star.cores = 1;
  EXPECT_NEAR(star_times(star, 1).experts, 3 * 1.0, 1e-9) << "there is one core";
}

// Three ranks of two experts, a row with one on each of the two others.
const std::vector<StarRoutes> kOneOnEach = {{{2, 4}}};
StarRanks three() {
  return {.layers = 1,
          .experts = 6,
          .top_k = 2,
          .ranks = 3,
          .cores = 3,
          .dense_seconds = 1.0,
          .expert_seconds = 0.5,
          .row_bytes = 10,
          .send_seconds = 0.01,
          .link = {0.03, 1e3}};
}

TEST(Scale, AStarFollowsTheRowsItIsGiven) {
  // Sent at 0.02 and 0.04, there at 0.04 and 0.06; then the expert, 0.02 to send, 0.02 on the way.
  EXPECT_NEAR(star_times(three(), kOneOnEach).step(), 1.0 + 0.06 + 0.5 + 0.04, 1e-9);
  const std::vector<StarRoutes> at_home = {{{0, 1}}};
  EXPECT_NEAR(star_times(three(), at_home).step(), 1.0 + 2 * 0.5, 1e-9);
  const std::vector<StarRoutes> both = {kOneOnEach[0], at_home[0]};
  EXPECT_NEAR(star_times(three(), both).step(), 1.0 + (0.6 + 1.0) / 2, 1e-9) << "steps are a mean";
}

TEST(Scale, RanksBeyondTheCoresWaitForOne) {
  StarRanks star = three();
  star.cores = 2;
  const double two = star_times(star, kOneOnEach).step();
  EXPECT_NEAR(two, 1.0 + 0.6, 1e-9) << "rank 0 has no expert to run: its core is free";
  star.cores = 1;
  EXPECT_NEAR(star_times(star, kOneOnEach).step(), 1.0 + 0.04 + 2 * 0.52 + 0.02, 1e-9);
}

TEST(Scale, WhatIsMissingOfTwoRanksIsFittedAndHoldsForMore) {
  StarRanks star = three();
  const std::vector<StarRoutes> wide = {{{2, 4, 2, 3, 0, 1}}};
  const std::vector<StarMissing> missing = {{kOneOnEach, 2 * 0.1 + 2 * 0.2}, {wide, 2 * 0.1 + 4 * 0.2}};
  fit_exchange(missing, star);
  EXPECT_NEAR(star.ask_seconds, 0.1, 1e-9);
  EXPECT_NEAR(star.output_seconds, 0.2, 1e-9);
  // Asked before each message; the first output is taken while the second is on its way.
  EXPECT_NEAR(star_times(star, kOneOnEach).step(), 1.0 + 0.6 + 2 * 0.1 + 0.2 + std::max(0.0, 0.2 - 0.12), 1e-9);
  const std::vector<StarMissing> less = {{kOneOnEach, -1.0}, {wide, -2.0}};
  fit_exchange(less, star);
  EXPECT_EQ(star.ask_seconds, 0.0);
  EXPECT_EQ(star.output_seconds, 0.0);
}

}  // namespace
}  // namespace foregate
