// Decodes with a packed model whose experts lie in a store, and tells what came out and what the store did.
#pragma once

#include <cstring>
#include <vector>

#include "tests/engine/model/packing.h"

namespace foregate::packing {

struct Decoded {
  std::vector<float> logits;
  ExpertFigures figures;
};

// Decodes some tokens of two sequences, one row each a step, with so much of the experts in memory.
inline Decoded decode(const MemoryFiles& disk, LookaheadMode mode, std::int32_t distance, double share = 0.75,
                      std::int32_t steps = 48, bool correction = true) {
  LoadOptions options = packing::load_options();
  options.experts.emplace();
  options.experts->warm = false;
  options.lookahead = {.mode = mode, .distance = distance, .correction = correction};
  auto index = TensorIndex::open(disk, "m");
  std::uint64_t bytes = 0;
  for (const PackedUnit& unit : index->packed()->index().units)
    bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
  options.experts->store.budget_bytes = static_cast<std::uint64_t>(static_cast<double>(bytes) * share);
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

inline bool same_bits(const Decoded& a, const Decoded& b) {
  return a.logits.size() == b.logits.size() &&
         std::memcmp(a.logits.data(), b.logits.data(), a.logits.size() * sizeof(float)) == 0;
}

}  // namespace foregate::packing
