// Scales of quantized matrices as f32, whatever type a file holds them in. Pure but for the read; any thread.
#pragma once

#include <vector>

#include "engine/base/status.h"
#include "engine/weights/tensor_index.h"

namespace foregate {

// All elements of a tensor of f32, f16 or bf16. Fails as TensorIndex::read() does.
Result<std::vector<float>> read_scale_tensor(const TensorIndex& index, const TensorEntry& entry);

}  // namespace foregate
