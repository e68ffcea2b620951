// Experts foreseen by tokens alone: no bit changes, hints are made and used, and where the first router reads the
// embedding alone every token that was seen is foreseen right.
#include "engine/model/token_routes.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

using namespace packing;
using Rows = std::vector<std::vector<float>>;

struct Ran {
  Rows rows;
  ExpertFigures figures;
};

// A prompt, then 80 steps of two sequences whose tokens come again and again.
Ran run(const MemoryFiles& disk, LookaheadMode mode, bool foresee) {
  std::uint64_t bytes = 0;
  auto model = PackedModel::open(disk, "m");
  for (const PackedUnit& unit : model->index().units) bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
  Driver driver("m", {.isa = "auto",
                      .files = &disk,
                      .experts = ExpertLoading{.store = {.budget_bytes = bytes * 6 / 10}, .warm = false},
                      .lookahead = {.mode = mode}});
  for (int i = 0; i < 2; ++i) driver.add_sequence();
  Ran ran;
  const auto add = [&ran](Rows rows) {
    for (auto& row : rows) ran.rows.push_back(std::move(row));
  };
  add(driver.step({{0, {3, 5, 8, 13, 21}}, {1, {1, 4, 9}}}));
  for (Token step = 0; step < 80; ++step) {
    const std::vector<Token> tokens = {step * step % 13, 20 + step * 5 % 11};
    if (foresee) driver.model().foresee(tokens);
    add(driver.step({{0, {tokens[0]}}, {1, {tokens[1]}}}));
  }
  ran.figures = *driver.model().expert_figures();
  return ran;
}

bool same_bits(const Rows& a, const Rows& b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) return false;
  }
  return true;
}

class TokenRoutesModel : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenRoutesModel, ForeseesAndChangesNoBit) {
  const MemoryFiles disk = packed(golden_dir(GetParam()), pack_options("none"));
  const Ran off = run(disk, LookaheadMode::kOff, true);
  EXPECT_EQ(off.figures.token_guesses, 0u);
  EXPECT_EQ(off.figures.hints, 0u);
  const Ran shadow = run(disk, LookaheadMode::kShadow, true);
  EXPECT_TRUE(same_bits(shadow.rows, off.rows));
  EXPECT_GT(shadow.figures.token_guesses, 100u);
  EXPECT_EQ(shadow.figures.token_hints, 0u);
  const Ran untold = run(disk, LookaheadMode::kAlways, false);
  EXPECT_EQ(untold.figures.token_hints, 0u);
  const Ran on = run(disk, LookaheadMode::kAlways, true);
  EXPECT_TRUE(same_bits(on.rows, off.rows));
  EXPECT_GT(on.figures.token_hints, 0u);
  EXPECT_GT(on.figures.token_hints_useful, 0u);
  EXPECT_EQ(on.figures.token_hints, on.figures.token_hints_useful + on.figures.token_hints_wasted);
  EXPECT_EQ(on.figures.token_guesses, shadow.figures.token_guesses);
  EXPECT_EQ(on.figures.token_guesses_right, shadow.figures.token_guesses_right);
  const bool certain = std::string(GetParam()).starts_with("smallthinker");
  EXPECT_EQ(on.figures.token_guesses_right == on.figures.token_guesses, certain);
  EXPECT_TRUE(same_bits(run(disk, LookaheadMode::kAuto, true).rows, off.rows));
  std::printf("%s: %llu of %llu foreseen right, %llu hints, %llu useful\n", GetParam(),
              static_cast<unsigned long long>(on.figures.token_guesses_right),
              static_cast<unsigned long long>(on.figures.token_guesses),
              static_cast<unsigned long long>(on.figures.token_hints),
              static_cast<unsigned long long>(on.figures.token_hints_useful));
}

INSTANTIATE_TEST_SUITE_P(Golden, TokenRoutesModel,
                         ::testing::Values("qwen3-moe-top4-norm", "olmoe-mha-top8", "pregated-top2-norm",
                                           "smallthinker-sigmoid-layouts"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace foregate
