// The arrays of one step: what the model reads (ForwardInput points into it) and where its logits go.
// Written by the step builder, then by the model; engine thread only. Reused from step to step.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/api/types.h"
#include "engine/model/model.h"
#include "kernels/api/args_attention.h"
#include "kernels/api/args_sample.h"

namespace foregate {

// Which rows of `logits` belong to entry i of the plan: first, first + 1, ... in order of position.
// The last of them that is no draft is the one to sample from when the entry samples.
struct LogitRange {
  std::int32_t first = 0;
  std::int32_t rows = 0;
  std::int32_t first_position = 0;  // position of the row behind logits row `first`
};

struct StepIo {
  std::vector<Token> tokens;
  std::vector<std::int32_t> positions;
  std::vector<std::int64_t> slot_mapping;
  std::vector<std::int32_t> block_ids;  // block tables of all entries, one after the other
  std::vector<SeqSpan> seqs;
  // The same of the window group, where the cache has one.
  std::vector<std::int64_t> window_slots;
  std::vector<std::int32_t> window_block_ids;
  std::vector<SeqSpan> window_seqs;
  // Where a draft is a tree: all rows by branch, and what their tail_slots point into; of the window group likewise.
  std::vector<SeqSpan> branches, window_branches;
  std::vector<std::int64_t> branch_slots, window_branch_slots;
  std::vector<std::uint64_t> requests;  // by seq
  // By seq: rows at its end that hold drafted tokens, and when it is committed, those that stood; empty: nobody has
  // any.
  std::vector<std::int32_t> drafted;
  std::vector<std::int32_t> places;  // of each drafted row when it is committed, where a draft is a tree
  std::vector<std::int32_t> logit_rows;
  std::vector<LogitRange> logit_ranges;  // one per entry of the plan

  std::vector<SampleRule> rules;  // by logit row; empty: all are sampled on the host
  std::vector<Token> sampled;     // where the model puts their tokens

  std::vector<float> hidden;  // [rows, hidden_size] where the model puts its states; empty: nobody wants them

  ForwardInput input() {
    return {tokens,  positions, slot_mapping, seqs,        logit_rows,   requests, rules,          sampled,
            drafted, hidden,    {},           window_seqs, window_slots, branches, window_branches};
  }
  void clear();
};

}  // namespace foregate
