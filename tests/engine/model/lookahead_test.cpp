// The lookahead in a running model: its control is right always, it learns, and it changes no bit.
#include "engine/model/lookahead.h"

#include <gtest/gtest.h>

#include "tests/engine/model/decode_rows.h"
#include "tests/engine/model/driver.h"

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
      // What is read ahead for a token is bounded by what it is routed to: top_k experts in each layer.
      EXPECT_LE(bytes.asked, (on.figures.guesses + on.figures.token_hints) * on.figures.slot_bytes);
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

// A sequence decodes while another's prompt comes in chunks, in the same steps; the last of which only decode.
struct Mixed {
  std::vector<std::vector<float>> logits;
  ExpertFigures figures;
};

Mixed decode_beside_a_prompt(const MemoryFiles& disk, LookaheadMode mode, std::int32_t distance) {
  ExpertLoading experts{.store = {.budget_bytes = 0}, .warm = false};
  const auto index = TensorIndex::open(disk, "m");
  for (const PackedUnit& unit : index->packed()->index().units) {
    if (unit.kind == PackedKind::kExpert) experts.store.budget_bytes += unit.bytes * 3 / 4;
  }
  Driver driver("m", {.files = &disk, .experts = experts, .lookahead = {.mode = mode, .distance = distance}});
  const int decoding = driver.add_sequence(), arriving = driver.add_sequence();
  const Token vocab = driver.model().vocab_size();
  Mixed run;
  for (Token at = 0; at < 24; ++at) {
    std::vector<Driver::Part> parts{{decoding, {(at * 7 + 3) % vocab}}};
    if (at < 16) parts.push_back({arriving, {(at * 5 + 1) % vocab, (at * 3 + 2) % vocab, at % vocab}});
    for (auto& row : driver.step(parts)) run.logits.push_back(std::move(row));
  }
  run.figures = *driver.model().expert_figures();
  return run;
}

TEST_P(LookaheadModel, RowsBesideAPromptAreGuessedFor) {
  const MemoryFiles disk = packing::packed(golden_dir(GetParam()), packing::pack_options("none"));
  const Mixed control = decode_beside_a_prompt(disk, LookaheadMode::kShadow, 0);
  EXPECT_EQ(control.figures.mixed_guesses, control.figures.guesses / 24 * 16) << "16 of 24 steps have a prompt's rows";
  EXPECT_EQ(control.figures.guesses_right, control.figures.guesses)
      << "the rows that are compared are those guessed for";
  const Mixed off = decode_beside_a_prompt(disk, LookaheadMode::kOff, 1);
  EXPECT_EQ(off.figures.mixed_guesses, 0u);
  EXPECT_EQ(control.logits, off.logits);
  for (const LookaheadMode mode : {LookaheadMode::kShadow, LookaheadMode::kAuto, LookaheadMode::kAlways}) {
    const Mixed on = decode_beside_a_prompt(disk, mode, 1);
    EXPECT_EQ(on.logits, off.logits) << lookahead_mode_name(mode);
    EXPECT_GT(on.figures.mixed_guesses, 0u);
    EXPECT_EQ(on.figures.hints, on.figures.hints_useful + on.figures.hints_wasted);
  }
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
