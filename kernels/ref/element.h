// One element at a time: reading and writing f32, f16 and bf16, in plain arrays and in packed
// weights. Used by the reference ops and by tests; any thread.
#pragma once

#include <cstdint>

#include "kernels/api/quant.h"

namespace foregate {

float widen_bf16(std::uint16_t bits);
float widen_f16(std::uint16_t bits);
std::uint16_t narrow_bf16(float value);  // round to nearest even; NaN stays NaN
std::uint16_t narrow_f16(float value);   // round to nearest even; beyond the range becomes infinity

// `type` is f32, f16 or bf16; index counts elements.
float read_element(const void* data, DType type, std::int64_t index);
void write_element(void* data, DType type, std::int64_t index, float value);

// Position of (row, col) in the 16-row interleave of a matrix with `cols` columns, in elements.
std::int64_t packed_index(std::int64_t row, std::int64_t col, std::int64_t cols);
float weight_at(const PackedWeight& weight, std::int64_t row, std::int64_t col);

}  // namespace foregate
