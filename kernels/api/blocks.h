// Rows of GGUF blocks (ggml's block_q8_0, block_q4_K, ... and the OCP MX format) and of fp8: what they mean, and how
// they move into the packed layout of quant.h. Pure functions over bytes, compiled without
// instruction-set flags; any thread. Meaning: github.com/ggml-org/ggml, docs/gguf.md and ggml-common.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/dtype.h"
#include "kernels/api/quant.h"

namespace foregate {

float widen_bf16(std::uint16_t bits);
float widen_f16(std::uint16_t bits);
std::uint16_t narrow_bf16(float value);  // round to nearest even; NaN stays NaN
std::uint16_t narrow_f16(float value);   // round to nearest even; beyond the range becomes infinity
float widen_f8(std::uint8_t bits);       // E4M3
std::uint8_t narrow_f8(float value);     // round to nearest even; beyond the range becomes 448, NaN stays NaN

// The f32 values of a row of `cols` elements of a block type. cols is a multiple of dtype_block(type).elements.
void dequantize_row(DType type, const std::byte* row, std::int64_t cols, float* out);

// Packs one block of 16 rows of a format with blocks: rows [0, count) are row-major, dtype_row_bytes(cols) apart;
// rows from count on become zero. Codes and scales are moved, not changed.
void pack_block(WeightFormat format, const std::byte* rows, int count, std::int64_t cols, std::byte* packed);

// The f32 values of one row of a packed weight of any format, as quant.h defines them.
void unpack_row(const PackedWeight& weight, std::int64_t row, float* out);

}  // namespace foregate
