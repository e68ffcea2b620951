// Packed weight layouts. A weight matrix W has `rows` outputs (N) and `cols` inputs (K).
//
// 16-row interleave: output rows are grouped in blocks of kRowInterleave. Inside block b the
// element of row 16*b + lane and column k is element ((b * cols) + k) * 16 + lane. The last block
// is padded with zero rows. One vector lane therefore owns one output row, its sum runs over k in
// ascending order in one accumulator, and the result does not depend on the vector width or on
// how many activation rows share the pass.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/dtype.h"

namespace foregate {

inline constexpr int kRowInterleave = 16;

struct PackedWeight {
  const std::byte* data = nullptr;
  WeightFormat format = WeightFormat::kF32;
  std::int64_t rows = 0;  // N, outputs
  std::int64_t cols = 0;  // K, inputs
};

constexpr int format_bytes(WeightFormat f) {
  return f == WeightFormat::kF32 ? 4 : 2;
}

// Bytes of a packed rows x cols matrix.
constexpr std::int64_t packed_bytes(WeightFormat f, std::int64_t rows, std::int64_t cols) {
  return (rows + kRowInterleave - 1) / kRowInterleave * kRowInterleave * cols * format_bytes(f);
}

}  // namespace foregate
