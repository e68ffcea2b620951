// Executes a weight plan: reads, packs, and fills ModelWeights, with a bounded transient buffer. A packed model is read
// as it is (packed_loader.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "engine/model/store_loader.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/tensor_index.h"
#include "kernels/api/op_table.h"

namespace foregate {

// A device whose memory the host does not see.
struct DeviceTarget {
  Device& device;
  Stream& stream;
};

// Which weights of a plan to load; those left out stay null. Empty: all.
using WeightFilter = std::function<bool(const WeightItem&)>;

// kDataLoss for missing or misshapen tensors (named) before any memory is taken;
// kResourceExhausted when the device has too little. `progress` is called after each piece, on this thread. `verify`:
// compare the checksums of a packed model. `experts`: leave experts on disk, in a store, as make_store() does.
// `dense`: of a packed model, let dense weights of layers pass through a window, as plan_dense_window() does.
// `target`: once loaded on `device`, which is the host, the weights move there, a layer at a time.
Result<std::unique_ptr<ModelWeights>> load_weights(const ModelConfig& config, const TensorIndex& index, Device& device,
                                                   const OpTable& ops, Stream& stream, const WeightPlanOptions& options,
                                                   const WeightProgress& progress, bool verify = true,
                                                   const ExpertLoading* experts = nullptr,
                                                   const DenseLoading* dense = nullptr,
                                                   const DeviceTarget* target = nullptr,
                                                   const WeightFilter& wanted = {});

// Sets what a step reads, for the bandwidth figures, from the plan that `weights` was filled by.
void count_step_bytes(const ModelConfig& config, const std::vector<WeightItem>& items, ModelWeights& weights);

}  // namespace foregate
