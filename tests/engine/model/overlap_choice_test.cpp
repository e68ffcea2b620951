// What overlaps can gain at most, and which of them is taken: steps that are made of a work, a line and an overlap.
#include "engine/model/overlap_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "engine/model/overlap_gain.h"

namespace foregate {
namespace {

constexpr double kLayers = 10;

// Steps of 10 layers on a line of `alpha` ns a message and `ns_of_byte`, 1000 bytes a row and layer: 1 ms, and 100 us a
// row.
StepSpent step_of(double rows, double alpha, double ns_of_byte, OverlapMode way = OverlapMode::kOff,
                  double hidden = 0) {
  StepSpent step{.rows = rows, .total = 1e6 + 1e5 * rows, .exchanges = kLayers, .bytes = kLayers * 1000 * rows};
  step.waited = kLayers * (alpha + ns_of_byte * 1000 * rows);
  if (way == OverlapMode::kHalves) step.total += 1e6;
  step.total += step.waited * (way == OverlapMode::kOff ? 1 : 1 - hidden);
  return step;
}

TEST(OverlapGain, LinesGoThroughTheirPoints) {
  const auto near = [](StraightLine line, double fixed, double each) {
    EXPECT_NEAR(line.fixed, fixed, 1e-6 * (fixed + 1));
    EXPECT_NEAR(line.each, each, 1e-6 * (each + 1));
  };
  near(fit_line(std::vector<XY>{{1, 12}, {2, 14}, {100, 210}}), 10, 2);
  near(fit_line(std::vector<XY>{{4, 8}, {4, 8}}), 0, 2);    // of one x: nothing is known of the fixed part
  near(fit_line(std::vector<XY>{{1, 1}, {2, 4}}), 0, 1.2);  // below 0 else: relative errors of the rest
  near(fit_line(std::vector<XY>{{1, 7}, {50, 7}}), 7, 0);
  near(fit_line(std::vector<XY>{{1, 12}, {2, 14}, {0, 5}, {3, 0}}), 10, 2);  // two that are no points
  near(fit_line({}), 0, 0);
  EXPECT_LE(fit_line(std::vector<XY>{{1, 9}, {50, 3}}).each, 0);
  EXPECT_EQ((StraightLine{3, 2}.at(4)), 11);
}

TEST(OverlapGain, OtherNumbersOfRowsArePredicted) {
  const std::vector<StepSpent> known = {step_of(1, 2e5, 80), step_of(8, 2e5, 80), step_of(512, 2e5, 80)};
  const OverlapModel model(known);
  EXPECT_NEAR(model.wait().fixed, 2e5, 1);   // alpha
  EXPECT_NEAR(model.wait().each, 80, 1e-3);  // 12.5 MB/s: 100 Mbit/s
  EXPECT_NEAR(model.work().fixed, 1e6, 10);
  EXPECT_NEAR(model.work().each, 1e5, 1);
  for (const double rows : {1.0, 30.0, 1000.0}) {
    const StepSpent want = step_of(rows, 2e5, 80);
    const auto got = model.predict(rows);
    ASSERT_TRUE(got) << rows;
    EXPECT_NEAR(got->total, want.total, want.total * 1e-4);
    EXPECT_NEAR(got->waited, want.waited, want.waited * 1e-4);
    EXPECT_NEAR(model.most_gain(OverlapMode::kChunks, *got), want.total / (want.total - want.waited), 1e-3);
    EXPECT_NEAR(model.most_gain(OverlapMode::kHalves, *got), want.total / (want.total - want.waited + 1e6), 1e-3);
    EXPECT_EQ(model.most_gain(OverlapMode::kOff, *got), 1);
  }
  EXPECT_FALSE(model.predict(1025)) << "far from what is known";
  EXPECT_FALSE(OverlapModel(std::span(known).first(1)).predict(1)) << "one number of rows says nothing of others";
  const StepSpent alone{.rows = 4, .total = 1e6};  // no rank had any of the experts
  EXPECT_EQ(OverlapModel({&alone, 1}).most_gain(OverlapMode::kChunks, alone), 1);
  const StepSpent all{.rows = 4, .total = 1e6, .waited = 1e6, .exchanges = 1, .bytes = 10};
  EXPECT_EQ(OverlapModel({&all, 1}).most_gain(OverlapMode::kChunks, all), 1000) << "no division by nothing";
}

using Times = std::function<StepSpent(OverlapMode)>;

std::vector<OverlapMode> chosen(OverlapChoice& choice, std::int64_t rows, const Times& times, int steps = 200,
                                bool halves = true) {
  std::vector<OverlapMode> ways;
  for (int i = 0; i < steps; ++i) {
    ways.push_back(choice.next(rows, true, halves));
    choice.took(times(ways.back()), ways.back());
  }
  return ways;
}

auto count(const std::vector<OverlapMode>& ways, OverlapMode way) {
  return std::count(ways.begin(), ways.end(), way);
}
// Of the second half.
auto later(const std::vector<OverlapMode>& ways, OverlapMode way) {
  return std::count(ways.begin() + static_cast<std::ptrdiff_t>(ways.size() / 2), ways.end(), way);
}

// Where half of a step is waited for.
Times half_waits(double rows, double chunks, double halves) {
  return [=](OverlapMode way) {
    const double total = way == OverlapMode::kOff ? 100 : way == OverlapMode::kChunks ? chunks : halves;
    return StepSpent{.rows = rows, .total = total * rows, .waited = 50 * rows, .exchanges = 1, .bytes = rows};
  };
}

TEST(OverlapChoice, TakesWhatWasFaster) {
  OverlapChoice choice;
  const auto halves_gain = chosen(choice, 8, half_waits(8, 100, 80));
  EXPECT_GE(later(halves_gain, OverlapMode::kHalves), 97);
  EXPECT_GE(count(halves_gain, OverlapMode::kChunks), 9);
  const auto little = chosen(choice, 300, half_waits(300, 98, 98));
  EXPECT_GE(later(little, OverlapMode::kOff), 97) << "two in a hundred are not worth it";
  const auto slow = chosen(choice, 8, half_waits(8, 100, 200), 400);
  EXPECT_LE(later(slow, OverlapMode::kHalves), 4) << "what was faster and is not any more is left";
  OverlapChoice whole;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(whole.next(4, false, false), OverlapMode::kOff);
    whole.took(half_waits(4, 50, 40)(OverlapMode::kOff), OverlapMode::kOff);
  }
  EXPECT_EQ(whole.take_trials(), std::make_pair(std::uint64_t{0}, std::uint64_t{0})) << "what cannot be is not spared";
  const auto no_halves = chosen(whole, 8, half_waits(8, 50, 40), 200, false);
  EXPECT_EQ(count(no_halves, OverlapMode::kHalves), 0);
  EXPECT_GE(later(no_halves, OverlapMode::kChunks), 97);
}

TEST(OverlapChoice, AStepThatCannotTakeAWayIsNotAskedTo) {
  OverlapChoice choice;
  const Times times = half_waits(8, 100, 80);
  for (int i = 0; i < 400; ++i) {
    const bool halves = i % 2 == 0;  // every second step is one with a tree
    const OverlapMode way = choice.next(8, true, halves);
    EXPECT_TRUE(halves || way != OverlapMode::kHalves);
    // Chunks come to one message here, and so to no overlap.
    const OverlapMode ran = way == OverlapMode::kChunks ? OverlapMode::kOff : way;
    choice.took(times(ran), ran);
    if (i > 150 && halves && i % 64 != 0) {
      EXPECT_EQ(way, OverlapMode::kHalves) << i;
    }
  }
  EXPECT_EQ(choice.times(8, OverlapMode::kChunks), 0u);
  EXPECT_EQ(choice.times(8, OverlapMode::kOff) + choice.times(8, OverlapMode::kHalves), 400u);
}

// 1 us a message and 10 GB/s are nothing beside the work; 1 ms and 12.5 MB/s are.
TEST(OverlapChoice, WhatCannotGainIsNotTried) {
  const auto on_line = [](double alpha, double ns_of_byte) {
    return [=](double rows) {
      return [=](OverlapMode way) {
        return step_of(rows, alpha, ns_of_byte, way, way == OverlapMode::kChunks ? 0.1 : 0.8);
      };
    };
  };
  const auto fast = on_line(1e3, 0.1), slow = on_line(1e6, 80);
  OverlapChoice quick;
  for (const int rows : {1, 4, 64, 500}) {
    EXPECT_EQ(count(chosen(quick, rows, fast(rows)), OverlapMode::kOff), 200) << rows;
  }
  EXPECT_EQ(quick.take_trials(), std::make_pair(std::uint64_t{0}, std::uint64_t{72}));
  OverlapChoice far;
  const auto first = chosen(far, 8, slow(8));
  EXPECT_GE(later(first, OverlapMode::kHalves), 97);
  EXPECT_EQ(std::count(first.begin(), first.begin() + 9, OverlapMode::kOff), 9) << "what it takes without";
  EXPECT_GE(far.take_trials().first, 18u);
  chosen(far, 100, slow(100));
  // Of 32 rows what they take is known from 8 and 100: the first steps are trials.
  const auto between = chosen(far, 32, slow(32), 9);
  EXPECT_EQ(count(between, OverlapMode::kOff), 3);
  // A line that becomes slow is noticed.
  chosen(quick, 4, slow(4));
  EXPECT_GE(later(chosen(quick, 4, slow(4), 400), OverlapMode::kHalves), 190);
}

}  // namespace
}  // namespace foregate
