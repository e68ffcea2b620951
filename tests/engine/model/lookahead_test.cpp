// The lookahead in a running model: its control is right always, it learns, and it changes no bit.
#include "engine/model/lookahead.h"

#include <gtest/gtest.h>

#include "tests/engine/model/decode_rows.h"

namespace foregate {
namespace {

using packing::decode;
using packing::Decoded;
using packing::same_bits;

class LookaheadModel : public ::testing::TestWithParam<const char*> {};

// Without staleness the router of a layer must choose what the layer chose: else the probe looks at the wrong thing.
TEST_P(LookaheadModel, TheControlIsAlwaysRight) {
  const MemoryFiles disk = packing::packed(golden_dir(GetParam()), packing::pack_options("none"));
  const Decoded run = decode(disk, LookaheadMode::kShadow, 0);
  EXPECT_GT(run.figures.guesses, 100u);
  EXPECT_EQ(run.figures.guesses_right, run.figures.guesses);
  EXPECT_EQ(run.figures.hints, 0u);
}

TEST_P(LookaheadModel, NoModeChangesABit) {
  const MemoryFiles disk = packing::packed(golden_dir(GetParam()), packing::pack_options("none"));
  const Decoded off = decode(disk, LookaheadMode::kOff, 1);
  EXPECT_EQ(off.figures.guesses, 0u);
  EXPECT_GT(off.figures.evictions, 0u);
  for (const LookaheadMode mode : {LookaheadMode::kShadow, LookaheadMode::kAuto, LookaheadMode::kAlways}) {
    const Decoded on = decode(disk, mode, 1);
    EXPECT_TRUE(same_bits(on, off)) << lookahead_mode_name(mode);
    EXPECT_GT(on.figures.guesses, 0u);
    if (mode == LookaheadMode::kAlways) {
      EXPECT_EQ(on.figures.hints > 0, on.figures.slots >= 8) << "one slot in eight may hold a hint";
      EXPECT_EQ(on.figures.hints, on.figures.hints_useful + on.figures.hints_wasted);
      const HintBytes& bytes = on.figures.hint_bytes;
      EXPECT_EQ(bytes.asked > 0, on.figures.hints > 0);
      EXPECT_EQ(bytes.useful + bytes.late > 0, on.figures.hints_useful > 0);
      EXPECT_LE(bytes.useful + bytes.late + bytes.wasted, bytes.asked);
    }
  }
}

// Shadow mode counts what the guesses would be without the correction: what they are when it is off.
TEST_P(LookaheadModel, TheCorrectionIsMeasuredAgainstDoingWithoutIt) {
  const MemoryFiles disk = packing::packed(golden_dir(GetParam()), packing::pack_options("none"));
  const Decoded with = decode(disk, LookaheadMode::kShadow, 1);
  const Decoded without = decode(disk, LookaheadMode::kShadow, 1, 0.75, 48, false);
  EXPECT_TRUE(same_bits(with, without));
  EXPECT_EQ(with.figures.guesses, without.figures.guesses);
  EXPECT_EQ(with.figures.guesses_right_plain, without.figures.guesses_right);
  EXPECT_EQ(without.figures.guesses_right_plain, 0u);
  EXPECT_NE(with.figures.guesses_right, with.figures.guesses_right_plain) << "it does something";
  std::printf("%s: of %llu guesses %llu right, %llu without the correction\n", GetParam(),
              static_cast<unsigned long long>(with.figures.guesses),
              static_cast<unsigned long long>(with.figures.guesses_right),
              static_cast<unsigned long long>(without.figures.guesses_right));
}

INSTANTIATE_TEST_SUITE_P(Golden, LookaheadModel,
                         ::testing::Values("mixtral-window-top1-tied", "olmoe-mha-top8", "qwen2-moe-mixed-layers",
                                           "qwen3-moe-top4-norm"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace foregate
