// A step whose rows run in two halves that take turns, layer by layer: while other ranks compute the experts of one
// half, rank 0 does attention, router and its own experts of the other (TokenWeave, arXiv 2505.11329). Rows of one
// sequence may be in both: the first half attends before the second, as a prompt in two pieces does, so the bytes are
// those of the whole step. Owned by the transformer of rank 0.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/kv/kv_cache.h"
#include "engine/model/model_weights.h"
#include "engine/model/moe_exchange.h"
#include "engine/model/step.h"
#include "engine/model/step_scratch.h"

namespace foregate {

// Of the rows [first, first + count) of a step, whose they are; rows are numbered from `first`.
std::vector<SeqSpan> rows_of_seqs(std::span<const SeqSpan> seqs, std::int64_t first, std::int64_t count);

class HalfSteps {
 public:
  // All must outlive this. Experts and dense weights are in memory.
  HalfSteps(const ModelConfig& config, const ModelWeights& weights, StepScratch& scratch, std::int32_t max_rows,
            MoeExchange& exchange);
  // Whether the step has two halves at all. Trees of drafted tokens stay whole: a branch may reach into both.
  static bool can_take(const Step& step) { return step.rows > 1 && step.input.branches.empty(); }
  // All layers of rows in scratch.hidden: what Transformer::run_layers() does. Bytes of the experts used. kUnavailable
  // names the rank that does not serve; nothing is outstanding then (INV-22).
  Result<std::int64_t> run(const Step& step, KvCache& cache);

 private:
  struct Half {
    ForwardInput input;
    std::vector<SeqSpan> seqs, window_seqs;
    StepScratch scratch;
    bool away = false;  // its experts of the layer before are awaited
  };

  void cut(const Step& step);
  Step step_of(const Step& whole, std::int32_t half);
  Status run_layers(const Step& step, std::span<const Step, 2> halves, KvCache& cache, std::int64_t& bytes);
  Status begin_layer(const Step& step, LayerId id, KvCache& cache, std::int32_t half);
  Status end_layer(LayerId id, std::int32_t half);
  std::int64_t note(const Step& whole, LayerId id);
  Half& at(std::int32_t half) { return halves_[static_cast<std::size_t>(half - 1)]; }

  const ModelConfig& config_;
  const ModelWeights& weights_;
  StepScratch& scratch_;
  MoeExchange& exchange_;
  std::array<Half, 2> halves_;
};

}  // namespace foregate
