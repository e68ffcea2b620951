// The lookahead in a running model: its control is right always, it learns, and it changes no bit.
#include "engine/model/lookahead.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

struct Decoded {
  std::vector<float> logits;
  ExpertFigures figures;
};

// Decodes some tokens of two sequences, one row each a step, with three quarters of the experts in memory.
Decoded decode(const MemoryFiles& disk, LookaheadMode mode, std::int32_t distance, std::int32_t steps = 48) {
  LoadOptions options = packing::load_options();
  options.experts.emplace();
  options.experts->warm = false;
  options.lookahead = {.mode = mode, .distance = distance};
  auto index = TensorIndex::open(disk, "m");
  std::uint64_t bytes = 0;
  for (const PackedUnit& unit : index->packed()->index().units)
    bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
  options.experts->store.budget_bytes = bytes * 3 / 4;
  packing::Loaded loaded = packing::load(disk, "m", options);
  EXPECT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  Transformer& model = **loaded.model;
  const std::int32_t vocab = model.vocab_size();
  auto cache = KvCache::create(*loaded.made.device, model.kv_layout(DType::kF32, 16), 16);
  Decoded run;
  std::vector<float> row(static_cast<std::size_t>(2 * vocab));
  for (std::int32_t position = 0; position < steps; ++position) {
    const Token tokens[] = {(position * 7 + 3) % vocab, (position * 11 + 5) % vocab};
    const std::int32_t positions[] = {position, position};
    const std::int64_t slots[] = {position, 128 + position};
    const std::int32_t tables[2][8] = {{0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12, 13, 14, 15}};
    const SeqSpan seqs[] = {{.first_row = 0, .rows = 1, .first_position = position, .block_table = tables[0]},
                            {.first_row = 1, .rows = 1, .first_position = position, .block_table = tables[1]}};
    const std::int32_t wanted[] = {0, 1};
    const Status status = model.forward(
        {.tokens = tokens, .positions = positions, .slot_mapping = slots, .seqs = seqs, .logit_rows = wanted}, *cache,
        {row.data(), 2, vocab, vocab});
    EXPECT_TRUE(status.ok()) << status.to_string();
    run.logits.insert(run.logits.end(), row.begin(), row.end());
  }
  run.figures = *model.expert_figures();
  return run;
}

bool same_bits(const Decoded& a, const Decoded& b) {
  return a.logits.size() == b.logits.size() &&
         std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * sizeof(float)) == 0;
}

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
    }
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
