// One element at a time: reading and writing f32, f16 and bf16, in plain arrays and in packed
// weights. Used by the reference ops and by tests; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/api/blocks.h"
#include "kernels/api/quant.h"

namespace foregate {

// `type` is f32, f16, bf16 or, to read, int8; index counts elements.
float read_element(const void* data, DType type, std::int64_t index);
void write_element(void* data, DType type, std::int64_t index, float value);

// Position of (row, col) in the 16-row interleave of a matrix with `cols` columns, in elements.
std::int64_t packed_index(std::int64_t row, std::int64_t col, std::int64_t cols);

// One row of a weight of any format, exactly.
std::vector<float> weight_row(const PackedWeight& weight, std::int64_t row);

// What a row of activations stands for in a product with `format`: itself, or for quantized formats a * q of
// quant.h, NaN in a group with a value that is not finite.
std::vector<double> activation_row(WeightFormat format, const float* x, std::int64_t cols);

}  // namespace foregate
