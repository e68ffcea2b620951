// Rows that are at a rank other than 0 while tokens stay where their experts are: it attends with a copy of the
// context, routes, runs its experts and tells rank 0 what others need. What rank 0 asks of it comes layer by layer, so
// the rank decides nothing. Owned by RankExperts; its thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "engine/model/row_messages.h"
#include "engine/model/rows_here.h"
#include "engine/model/step_scratch.h"
#include "kernels/api/op_table.h"

namespace foregate {

class RankRows {
 public:
  // All but the plan must outlive this. kResourceExhausted where there is no memory for a step.
  static Result<std::unique_ptr<RankRows>> create(const ModelConfig& config, const ModelWeights& weights, RankId rank,
                                                  const PlacementPlan& plan, std::int32_t max_rows, Device& device,
                                                  const OpTable& ops, Stream& stream);

  // Each takes the body of a message; kDataLoss when it is none that may come now.
  Status context(std::span<const std::byte> body);
  Status join(std::span<const std::byte> body);
  // The answer to kLayer is in answer() then; what the rank could not do is another error.
  Status layer(std::span<const std::byte> body);
  std::span<const std::byte> answer() const { return answer_; }
  // After the answer went out: the experts of the rows that stay. Those that come are awaited meanwhile.
  void go_on();
  std::uint64_t most_bytes() const;  // of a message

 private:
  RankRows(const ModelConfig& config, const ModelWeights& weights, StepScratch scratch, RankId rank,
           const PlacementPlan& plan, std::int32_t max_rows, Device& device, const OpTable& ops, Stream& stream);
  Status begin_layer(const LayerRows& asked);
  void write_done(LayerId layer, bool sparse);
  void write_wanted();
  std::size_t bytes_of_position(LayerId layer) const;

  const ModelConfig& config_;
  StepScratch scratch_;
  const RankId rank_;
  const PlacementPlan plan_;
  Device& device_;
  RowLimits limits_;
  RowsHere rows_;
  std::optional<KvCache> cache_;
  Status no_cache_;  // why there is none
  std::uint64_t step_ = 0;
  LayerId next_{0};      // that kLayer asks for
  bool routed_ = false;  // the layer before it has experts: rows may join it, and outputs may be awaited
  std::vector<std::uint8_t> stays_;
  LayerRows asked_;
  JoinRows joined_;
  std::vector<std::byte> answer_;
};

}  // namespace foregate
