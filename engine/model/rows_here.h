// The rows of a step that are at one rank while tokens stay where their experts are: each is the one row of its
// sequence. They go through the layers by the same ops as any step's (INV-13), so where a row is does not show. Owned
// by whoever moves rows: RowTravel at rank 0, RankRows elsewhere. On the host, experts in memory. One thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/model_weights.h"
#include "engine/model/step.h"
#include "engine/placement/plan.h"

namespace foregate {

// A row wherever it goes.
struct RowAt {
  std::int32_t row = 0;  // of the step
  std::int32_t position = 0;
  bool wanted = false;               // for logits
  std::vector<std::int32_t> blocks;  // of positions 0 .. position; none that no layer reads need be right
};

class RowsHere {
 public:
  // All must outlive this; rows of one step at most as many as the scratch was made for.
  RowsHere(const ModelConfig& config, const ModelWeights& weights, StepScratch& scratch, const OpTable& ops,
           Stream& stream, RankId rank, const PlacementPlan& plan);

  void clear(std::int32_t block_size);
  const std::vector<RowAt>& rows() const { return rows_; }
  std::int64_t count() const { return static_cast<std::int64_t>(rows_.size()); }
  // Rows whose values lie in scratch.hidden already: embedded.
  void start(std::vector<RowAt> rows);

  // Layer by layer: attend(), then run_dense(), or route(), keep(), join(), run_held(), place() and combine().
  void attend(LayerId layer, const KvPages& pages);
  void run_dense(LayerId layer);
  void route(LayerId layer);
  void keep(std::span<const std::uint8_t> stays);                                    // [count()]; the others leave
  void join(LayerId layer, std::vector<RowAt> rows, std::span<const float> hidden);  // behind those here, and routed
  // The experts of the plan that this rank holds, of the rows from `first` on.
  void run_held(LayerId layer, std::int64_t first);
  // What a layer's expert elsewhere made of a row; false when it is none that is awaited.
  bool place(std::int64_t index, std::int32_t slot, const float* output);
  std::int64_t awaited() const { return awaited_; }
  void combine(LayerId layer);
  void last_norm();  // scratch.normed is what the vocabulary projection reads

  std::span<const std::int32_t> ids(std::int64_t index) const;     // [top_k] of the layer that was routed
  std::span<const float> route_weights(std::int64_t index) const;  // [top_k]
  const float* hidden(std::int64_t index) const { return scratch_.hidden + index * config_.hidden_size; }
  const float* normed(std::int64_t index) const { return scratch_.normed + index * config_.hidden_size; }

 private:
  Step step() const;
  void arrange();  // what ops read of the rows, after they changed
  void move_row(std::int64_t from, std::int64_t to);
  const LayerWeights& layer(LayerId id) const { return weights_.layers[static_cast<std::size_t>(id.value)]; }

  const ModelConfig& config_;
  const ModelWeights& weights_;
  StepScratch& scratch_;
  const OpTable& ops_;
  Stream& stream_;
  const RankId rank_;
  const PlacementPlan& plan_;
  std::vector<std::vector<float>> frequencies_;
  std::int32_t block_size_ = 16;
  std::vector<RowAt> rows_;
  std::vector<std::int32_t> positions_;
  std::vector<std::int64_t> slots_;
  std::vector<SeqSpan> seqs_;
  ForwardInput input_;
  std::vector<std::int32_t> ids_;  // [count(), top_k]
  std::vector<float> route_weights_;
  std::vector<std::uint8_t> here_;  // [count(), top_k] its expert ran here, or its output came
  std::int64_t awaited_ = 0;
  std::vector<std::vector<std::int32_t>> by_expert_;  // of run_held(): assignments
  std::vector<std::int32_t> x_rows_, out_rows_;
  std::vector<ExpertGroup> groups_;
};

}  // namespace foregate
