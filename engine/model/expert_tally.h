// Counts what each expert is used for, and draws the map of them. Owned by the transformer, thread of the step.
#pragma once

#include <span>
#include <vector>

#include "engine/api/expert_board.h"
#include "engine/experts/device_tier.h"
#include "engine/experts/expert_numbers.h"
#include "engine/experts/expert_store.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// Whether an expert of the layer that runs was where it is computed: with a store alone, after ExpertStore::begin() and
// before the first lease is asked for; with slots on a device before it, before DeviceTier::begin(), and then whether
// the device has it. Without a store it is. What another rank's store has is not known here.
bool expert_found(ExpertKey key, const ExpertStore* store, const DeviceTier* tier, std::int32_t owner = 0);

class ExpertTally {
 public:
  explicit ExpertTally(const ModelConfig& config);
  void begin_step() { ++steps_; }
  // After group_by_expert(), when expert_found() may be asked.
  // Rows of drafts do not count. `owners`: the rank that computes each group; empty: 0.
  void used(const Step& step, LayerId id, const ExpertStore* store, const DeviceTier* tier = nullptr,
            std::span<const std::int32_t> owners = {});
  // Rows of a draft that stood: as of a step of their own, whose experts were found where `found` is 1.
  void stood(const LayerUse& use, std::span<const std::uint8_t> found);
  // `routed`: rows came to used(). Experts without a store are where the device is.
  ExpertMap map(const ModelWeights& weights, std::int64_t steps, bool routed, bool host) const;

 private:
  void add(ExpertKey key, std::int32_t rows, bool found);

  std::vector<std::int32_t> experts_;  // of each layer
  ExpertNumbers numbers_;
  std::int64_t steps_ = 0;         // counted
  std::vector<ExpertCell> cells_;  // their places are looked up in map()
};

}  // namespace foregate
