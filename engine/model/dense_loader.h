// Puts the dense weights of some layers of a packed model into a window (dense_window.h). What a layer is asked for
// before it runs, its router, and its vectors stay in memory; its matrices pass through.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/dense_plan.h"
#include "engine/model/model_weights.h"
#include "engine/model/store_loader.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/packed_model.h"
#include "engine/weights/tensor_index.h"
#include "kernels/api/device.h"

namespace foregate {

// Bytes of the units of layers, by layer.
std::vector<std::uint64_t> dense_layer_bytes(const PackedIndex& index, std::size_t layers);

// kInvalidArgument (field dense_memory) for a model that is not packed, and as plan_dense_window() has it.
Result<DensePlan> plan_dense(const TensorIndex& index, std::size_t layers, std::uint64_t budget_bytes);

// `items`: those of the layers that the plan streams, but experts. Reads each of their units once, takes what stays,
// sets weights.dense. Reads go through the transfer of weights.store where there is one. Errors as read_units() and
// DenseWindow::create().
Status make_dense_window(const TensorIndex& index, const std::vector<WeightItem>& items, const DensePlan& plan,
                         const DenseLoading& loading, Device& device, ModelWeights& weights);

}  // namespace foregate
