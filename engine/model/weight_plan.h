// The list of every weight that a model needs: where its bytes are in the files, its shape, and
// where the packed copy goes. Pure: made from the config and the tensor index, nothing is read.
// The loader executes it; `foregate inspect` sums it up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "engine/model/weight_format.h"
#include "engine/weights/stored_matrix.h"
#include "engine/weights/tensor_index.h"

namespace foregate {

// One matrix to pack, or one vector (cols == 1, kept as f32).
struct WeightItem {
  std::string name;  // of the tensor, each expert's part on its own: the name in a packed model
  const TensorEntry* entry = nullptr;
  std::uint64_t begin = 0;  // first byte inside the tensor: part of a fused one
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  WeightFormat format = WeightFormat::kF32;
  WeightGroup group = WeightGroup::kNorm;
  std::int32_t layer = -1;         // -1: outside the layers
  std::int32_t expert = -1;        // -1: not of an expert
  std::int32_t paired_rows = 0;    // > 0: heads of so many rows, each stored as 0, d/2, 1, d/2 + 1, ...
  PackedWeight* matrix = nullptr;  // exactly one of these two is set
  const float** vector = nullptr;
  // Of a quantized checkpoint: the matrix is in these tensors, and `entry` is its codes.
  std::optional<StoredMatrix> stored = {};
};

// The type of the item's rows as the packer gets them, and their bytes in the files.
DType source_type(const WeightItem& item);
std::int64_t source_bytes(const WeightItem& item);
// Of those, the share of the first `rows` rows.
std::int64_t source_bytes(const WeightItem& item, std::int64_t rows);

// Checks that every tensor exists with the shape that the config implies and a type that the
// engine computes with, sizes `weights` and points the items at its fields. kDataLoss names the
// tensor. `weights` must stay where it is as long as the plan is used. The three matrices of one
// expert are all quantized or all not (args_moe.h). A packed model is taken as it is: kInvalidArgument
// when a quantization other than its own is asked for.
Result<std::vector<WeightItem>> plan_weights(const ModelConfig& config, const TensorIndex& index,
                                             const WeightPlanOptions& options, ModelWeights& weights);

}  // namespace foregate
