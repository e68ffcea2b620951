#include "kernels/api/blocks.h"

#include <bit>
#include <cstring>

#include "kernels/api/block_parts.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

// 2^(e - 128), half of the E8M0 scale, because the element table holds doubled values.
float half_e8m0(std::uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23);
}

const std::uint8_t* bytes_of(const std::byte* p) {
  return reinterpret_cast<const std::uint8_t*>(p);
}

constexpr std::int8_t kE2m1Doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// The value of column j of a group.
float group_value(DType type, Factors factors, const Group& group, int j) {
  const float d = widen_f16(factors.d);
  const int code = group.codes[j];
  switch (type) {
    case DType::kQ8_0: return d * static_cast<float>(code - 128);
    case DType::kQ4_0: return d * static_cast<float>(code - 8);
    case DType::kQ5_0: return d * static_cast<float>(code - 16);
    case DType::kQ4_1: return d * static_cast<float>(code) + widen_f16(factors.m);
    case DType::kQ6_K:
      return d * static_cast<float>(static_cast<std::int8_t>(group.scale[j / 16])) * static_cast<float>(code - 32);
    case DType::kMxfp4: return half_e8m0(group.scale[0]) * static_cast<float>(kE2m1Doubled[code]);
    default:
      return d * static_cast<float>(group.scale[0]) * static_cast<float>(code) -
             widen_f16(factors.m) * static_cast<float>(group.scale[1]);
  }
}

// The code of column j of row `lane` inside the code arrays of a group.
std::uint8_t get_code(DType type, const std::uint8_t* codes, int lane, int j) {
  const int chunk = j / 4;
  const int at = 4 * lane + j % 4;
  if (type == DType::kQ8_0) return codes[64 * chunk + at];
  int code = codes[64 * (chunk % 4) + at] >> (chunk < 4 ? 0 : 4) & 15;
  const std::uint8_t* high = codes + 256;
  if (type == DType::kQ5_0 || type == DType::kQ5_K) code |= (high[at] >> chunk & 1) << 4;
  if (type == DType::kQ6_K) code |= (high[64 * (chunk / 4) + at] >> 2 * (chunk % 4) & 3) << 4;
  return static_cast<std::uint8_t>(code);
}

}  // namespace

float widen_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

float widen_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  // Shifted into place the exponent is 112 too small; the product is exact, subnormals included.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign);
}

std::uint16_t narrow_bf16(float value) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return static_cast<std::uint16_t>(bits >> 16);
}

std::uint16_t narrow_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint16_t sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x47800000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
  std::uint32_t half;
  if (magnitude < 0x38800000u) {
    // Subnormal result: adding 0.5 leaves the rounded multiple of 2^-24 in the low mantissa bits.
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    const std::uint32_t odd = (magnitude >> 13) & 1u;
    half = (magnitude - 0x38000000u + 0xfffu + odd) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

float widen_f8(std::uint8_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
  const std::uint32_t magnitude = bits & 0x7fu;
  if (magnitude == 0x7fu) return std::bit_cast<float>(sign | 0x7fc00000u);
  // Shifted into place the exponent is 120 too small; the product is exact, subnormals included.
  const float scaled = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign);
}

std::uint8_t narrow_f8(float value) {
  std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>(bits >> 24 & 0x80u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return static_cast<std::uint8_t>(sign | 0x7fu);
  if (bits < 0x3c800000u) {
    // Below 2^-6: adding 2^14 leaves the rounded multiple of 2^-9 in the low mantissa bits.
    const float rounded = std::bit_cast<float>(bits) + 0x1p14f;
    return static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(rounded) - 0x46800000u));
  }
  bits += 0x7ffffu + (bits >> 20 & 1u);
  const std::uint32_t code = (bits - 0x3c000000u) >> 20;
  return static_cast<std::uint8_t>(sign | (code < 0x7eu ? code : 0x7eu));
}

namespace {

void dequantize_fp8(const std::uint8_t* block, float* out) {
  float scale;
  std::memcpy(&scale, block, sizeof scale);
  for (int j = 0; j < dtype_block(DType::kFp8).elements; ++j) out[j] = scale * widen_f8(block[4 + j]);
}

}  // namespace

void dequantize_row(DType type, const std::byte* row, std::int64_t cols, float* out) {
  const DTypeBlock block = dtype_block(type);
  CHECK(cols % block.elements == 0);
  const std::uint8_t* at = bytes_of(row);
  for (std::int64_t c = 0; c < cols; c += block.elements, at += block.bytes) {
    if (type == DType::kFp8) {
      dequantize_fp8(at, out + c);
      continue;
    }
    const Factors factors = read_factors(type, at);
    for (int g = 0; g < block.elements / kQuantGroup; ++g) {
      Group group;
      read_group(type, at, g, group);
      for (int j = 0; j < kQuantGroup; ++j) out[c + g * kQuantGroup + j] = group_value(type, factors, group, j);
    }
  }
}

namespace {

void unpack_quantized_row(const PackedWeight& weight, std::int64_t row, float* out) {
  const DType type = format_dtype(weight.format);
  const FormatUnit unit = format_unit(weight.format);
  const UnitLayout layout(weight.format);
  const int lane = static_cast<int>(row % kRowInterleave);
  const std::uint8_t* from = bytes_of(weight.data) + row / kRowInterleave * (weight.cols / unit.cols) * unit.bytes;
  for (std::int64_t c = 0; c < weight.cols; c += unit.cols, from += unit.bytes) {
    Factors factors;
    if (layout.header > 0) std::memcpy(&factors.d, from + 2 * lane, 2);
    if (layout.has_m) std::memcpy(&factors.m, from + 32 + 2 * lane, 2);
    for (int g = 0; g < layout.groups; ++g) {
      const std::uint8_t* part = from + layout.header + g * layout.group_bytes;
      Group group;
      for (int s = 0; s < layout.small_scales; ++s) group.scale[s] = part[kRowInterleave * s + lane];
      const std::uint8_t* codes = part + kRowInterleave * layout.small_scales;
      for (int j = 0; j < kQuantGroup; ++j) group.codes[j] = get_code(type, codes, lane, j);
      for (int j = 0; j < kQuantGroup; ++j) out[c + g * kQuantGroup + j] = group_value(type, factors, group, j);
    }
  }
}

void unpack_fp8_row(const PackedWeight& weight, std::int64_t row, float* out) {
  const FormatUnit unit = format_unit(weight.format);
  const std::int64_t lane = row % kRowInterleave;
  const std::uint8_t* from = bytes_of(weight.data) + row / kRowInterleave * (weight.cols / unit.cols) * unit.bytes;
  for (std::int64_t c = 0; c < weight.cols; c += unit.cols, from += unit.bytes) {
    float scale;
    std::memcpy(&scale, from + 4 * lane, sizeof scale);
    for (int j = 0; j < unit.cols; ++j) out[c + j] = scale * widen_f8(from[64 + kRowInterleave * j + lane]);
  }
}

}  // namespace

void unpack_row(const PackedWeight& weight, std::int64_t row, float* out) {
  CHECK(row >= 0 && row < weight.rows);
  if (is_quantized(weight.format)) return unpack_quantized_row(weight, row, out);
  if (weight.format == WeightFormat::kFp8) return unpack_fp8_row(weight, row, out);
  const std::int64_t first = row / kRowInterleave * weight.cols * kRowInterleave + row % kRowInterleave;
  for (std::int64_t c = 0; c < weight.cols; ++c) {
    const std::int64_t at = first + c * kRowInterleave;
    if (weight.format == WeightFormat::kF32) {
      out[c] = reinterpret_cast<const float*>(weight.data)[at];
    } else {
      const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(weight.data)[at];
      out[c] = weight.format == WeightFormat::kF16 ? widen_f16(bits) : widen_bf16(bits);
    }
  }
}

}  // namespace foregate
