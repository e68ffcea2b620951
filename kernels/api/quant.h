// Packed weight layouts. A weight matrix W has `rows` outputs (N) and `cols` inputs (K).
//
// 16-row interleave: output rows are grouped in blocks of kRowInterleave, the last one padded with zero
// rows. One vector lane owns one output row and sums over k in ascending order, so a result depends
// neither on the vector width nor on how many activation rows share the pass.
//
// f32, f16, bf16: the element of row 16*b + lane and column k is element ((b * cols) + k) * 16 + lane.
//
// fp8: units of 16 rows by 128 columns: scale f32[16] | byte of row `lane` and column k at k * 16 + lane. w = scale *
// e4m3(byte), rounded to f32. Activations stay f32, as with f32, f16 and bf16, and products are those of these weights
// as f32. No byte is NaN, and |scale| < 2^120.
//
// Quantized formats hold the codes and scales of the GGUF type of the same name, unit after unit along k;
// a unit is 16 rows by format_unit().cols columns. `codes` of 32 columns (a group) is eight chunks; byte
// 4 * lane + i of chunk c belongs to row `lane`, column 4 * c + i. Nibbles: chunk c < 4 in the low half of
// byte array c, chunk c + 4 in its high half (4 x 64 bytes). All scales are 16 lanes side by side.
//   q8_0   d f16[16] | codes + 128 as u8 (512 bytes)              w = d * (code - 128)
//   q4_0   d f16[16] | nibbles                                     w = d * (code - 8)
//   q4_1   d f16[16], m f16[16] | nibbles                          w = d * code + m
//   q5_0   d f16[16] | nibbles | bit 4: bit c of byte 4*lane+i (64 bytes)      w = d * (code - 16)
//   mxfp4  e8m0 u8[16] | nibbles                                   w = 2^(e - 127) * e2m1[code]
//   q4_k   d f16[16], dmin f16[16] | 8 x (scale u8[16], min u8[16] | nibbles)   w = d*scale*code - dmin*min
//   q5_k   the same with 64 bytes of bit 4 after the nibbles
//   q6_k   d f16[16] | 8 x (scale i8[16] of columns 0-15, i8[16] of 16-31 | nibbles | bits 4-5: bits 2*(c%4)..
//          of byte 4*lane+i of half c/4 (2 x 64 bytes))            w = d * scale * (code - 32)
//
// Products with a quantized format round activations to int8, a group of 32 columns at a time: amax = max |x|,
// a = amax / 127, q = round-half-even(x * (127 / amax)) (0 where 127 / amax is beyond f32), and x stands for a * q
// from there on. A row with a value that is not finite gives NaN. The integer sum of a group is exact; groups are added
// in f32, in ascending k:
//   y += (d * a) * sum(code' * q)      and for formats with a minimum      y += m * (a * sum(q))
// So |y - exact| <= sum over k of |w[k]| * amax[group of k] / 254, and f32 rounding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/api/dtype.h"

namespace foregate {

inline constexpr int kRowInterleave = 16;
// Names the layout above in packed files: other bytes for any format, another name.
inline constexpr const char* kPackedLayout = "interleave16";
inline constexpr int kQuantGroup = 32;  // columns that share an activation scale

struct PackedWeight {
  const std::byte* data = nullptr;
  WeightFormat format = WeightFormat::kF32;
  std::int64_t rows = 0;  // N, outputs
  std::int64_t cols = 0;  // K, inputs: a multiple of format_unit(format).cols
};

// Products take activations as int8.
constexpr bool is_quantized(WeightFormat f) {
  return f != WeightFormat::kF32 && f != WeightFormat::kF16 && f != WeightFormat::kBF16 && f != WeightFormat::kFp8;
}

// Rows are blocks with scales of their own, which are moved whole.
constexpr bool has_blocks(WeightFormat f) {
  return is_quantized(f) || f == WeightFormat::kFp8;
}

constexpr const char* format_name(WeightFormat f) {
  return dtype_name(format_dtype(f));
}

// The smallest piece of a packed matrix: kRowInterleave rows by `cols` columns.
struct FormatUnit {
  int cols;
  int bytes;
};
constexpr FormatUnit format_unit(WeightFormat f) {
  switch (f) {
    case WeightFormat::kF32: return {1, 64};
    case WeightFormat::kF16:
    case WeightFormat::kBF16: return {1, 32};
    case WeightFormat::kQ8_0: return {32, 32 + 512};
    case WeightFormat::kQ4_0: return {32, 32 + 256};
    case WeightFormat::kQ4_1: return {32, 64 + 256};
    case WeightFormat::kQ5_0: return {32, 32 + 256 + 64};
    case WeightFormat::kMxfp4: return {32, 16 + 256};
    case WeightFormat::kFp8: return {128, 64 + 128 * 16};
    case WeightFormat::kQ4_K: return {256, 64 + 8 * (32 + 256)};
    case WeightFormat::kQ5_K: return {256, 64 + 8 * (32 + 256 + 64)};
    case WeightFormat::kQ6_K: return {256, 32 + 8 * (32 + 256 + 128)};
  }
  return {1, 64};
}

// Bytes of a packed rows x cols matrix.
constexpr std::int64_t packed_bytes(WeightFormat f, std::int64_t rows, std::int64_t cols) {
  const FormatUnit unit = format_unit(f);
  return (rows + kRowInterleave - 1) / kRowInterleave * (cols / unit.cols) * unit.bytes;
}

}  // namespace foregate
