// Brings a packed model into memory but for its experts, which go into a store: the table of where each lies comes from
// the plan, nothing of them is read here.
#pragma once

#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_store.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/packed_reader.h"
#include "kernels/api/device.h"

namespace foregate {

// kInvalidArgument (field expert_memory) when the model is not packed or has no experts; else as load_packed() and
// ExpertStore::create() fail.
Status load_with_store(const ModelConfig& config, const TensorIndex& index, const std::vector<WeightItem>& items,
                       Device& device, const UnitReadOptions& options, const StoreOptions& experts,
                       const ReadProgress& progress, ModelWeights& weights);

}  // namespace foregate
