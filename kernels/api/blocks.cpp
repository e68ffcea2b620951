#include "kernels/api/blocks.h"

#include <bit>
#include <cstring>

#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr int kSuper = 256;  // elements of a k-quant block
constexpr int kGroupsOfSuper = kSuper / kQuantGroup;

const std::uint8_t* bytes_of(const std::byte* p) {
  return reinterpret_cast<const std::uint8_t*>(p);
}

std::uint16_t load_u16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>(p[0] | p[1] << 8);
}

// One group of 32 columns of one row, in the packed code domain.
struct Group {
  std::uint8_t codes[kQuantGroup] = {};
  std::uint8_t scale[2] = {};  // k-quants: scale and minimum, or two scales (q6_k); mxfp4: the exponent
};

// Scale and minimum of group j: eight pairs of 6 bits in twelve bytes.
void scale_and_min(const std::uint8_t* packed, int j, std::uint8_t (&out)[2]) {
  if (j < 4) {
    out[0] = packed[j] & 63;
    out[1] = packed[j + 4] & 63;
  } else {
    out[0] = static_cast<std::uint8_t>((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4));
    out[1] = static_cast<std::uint8_t>((packed[j + 4] >> 4) | (packed[j] >> 6 << 4));
  }
}

// Sixteen bytes hold element j in the low and element j + 16 in the high half of byte j.
void split_nibbles(const std::uint8_t* from, std::uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = from[j] & 15;
    codes[j + 16] = from[j] >> 4;
  }
}

void read_q5_0(const std::uint8_t* block, Group& out) {
  std::uint32_t high;
  std::memcpy(&high, block + 2, 4);
  split_nibbles(block + 6, out.codes);
  for (int j = 0; j < kQuantGroup; ++j) out.codes[j] |= static_cast<std::uint8_t>((high >> j & 1) << 4);
}

// q4_k and q5_k: groups 2i and 2i + 1 are the low and high halves of 32 bytes.
void read_k45(const std::uint8_t* block, int group, bool five, Group& out) {
  scale_and_min(block + 4, group, out.scale);
  const std::uint8_t* high = block + 16;
  const std::uint8_t* low = block + (five ? 48 : 16) + group / 2 * kQuantGroup;
  const int shift = group % 2 * 4;
  for (int j = 0; j < kQuantGroup; ++j) {
    out.codes[j] = low[j] >> shift & 15;
    if (five) out.codes[j] |= static_cast<std::uint8_t>((high[j] >> group & 1) << 4);
  }
}

// q6_k: ql[128], qh[64], scales[16], d. Each half of 128 elements takes 64 of ql and 32 of qh.
void read_q6_k(const std::uint8_t* block, int group, Group& out) {
  const int part = group % 4;
  const std::uint8_t* low = block + group / 4 * 64 + part % 2 * kQuantGroup;
  const std::uint8_t* high = block + 128 + group / 4 * 32;
  for (int j = 0; j < kQuantGroup; ++j) {
    out.codes[j] = static_cast<std::uint8_t>((low[j] >> part / 2 * 4 & 15) | (high[j] >> 2 * part & 3) << 4);
  }
  std::memcpy(out.scale, block + 192 + 2 * group, 2);
}

// Group `group` of the block at `block`.
void read_group(DType type, const std::uint8_t* block, int group, Group& out) {
  switch (type) {
    case DType::kQ8_0:
      for (int j = 0; j < kQuantGroup; ++j) out.codes[j] = block[2 + j] ^ 0x80;
      break;
    case DType::kQ4_0: split_nibbles(block + 2, out.codes); break;
    case DType::kQ4_1: split_nibbles(block + 4, out.codes); break;
    case DType::kQ5_0: read_q5_0(block, out); break;
    case DType::kQ4_K: read_k45(block, group, false, out); break;
    case DType::kQ5_K: read_k45(block, group, true, out); break;
    case DType::kQ6_K: read_q6_k(block, group, out); break;
    case DType::kMxfp4:
      split_nibbles(block + 1, out.codes);
      out.scale[0] = block[0];
      break;
    default: CHECK(!"a block type");
  }
}

// Halves of d and the second factor (m, dmin) of a block; 0 where the type has none.
struct Factors {
  std::uint16_t d = 0;
  std::uint16_t m = 0;
};

Factors read_factors(DType type, const std::uint8_t* block) {
  switch (type) {
    case DType::kQ6_K: return {load_u16(block + 208), 0};
    case DType::kMxfp4: return {};
    case DType::kQ4_1:
    case DType::kQ4_K:
    case DType::kQ5_K: return {load_u16(block), load_u16(block + 2)};
    default: return {load_u16(block), 0};
  }
}

// 2^(e - 128), half of the E8M0 scale, because the element table holds doubled values.
float half_e8m0(std::uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23);
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

bool is_super(DType type) {
  return dtype_block(type).elements == kSuper;
}

// Where the parts of a packed unit lie.
struct UnitLayout {
  explicit UnitLayout(WeightFormat format) {
    const DType type = format_dtype(format);
    const bool two = type == DType::kQ4_1 || type == DType::kQ4_K || type == DType::kQ5_K;
    header = type == DType::kMxfp4 ? 0 : two ? 64 : 32;
    small_scales = type == DType::kMxfp4 ? 1 : is_super(type) ? 2 : 0;
    has_m = two;
    groups = is_super(type) ? kGroupsOfSuper : 1;
    group_bytes = (format_unit(format).bytes - header) / groups;
  }
  int header;        // f16 factors of 16 rows: d, then m
  int small_scales;  // bytes per row and group
  bool has_m;
  int groups;
  int group_bytes;
};

// Byte and bits of column j of row `lane` inside the code arrays of a group.
void put_code(DType type, std::uint8_t* codes, int lane, int j, std::uint8_t code) {
  const int chunk = j / 4;
  const int at = 4 * lane + j % 4;
  if (type == DType::kQ8_0) {
    codes[64 * chunk + at] = code;
    return;
  }
  codes[64 * (chunk % 4) + at] |= static_cast<std::uint8_t>((code & 15) << (chunk < 4 ? 0 : 4));
  std::uint8_t* high = codes + 256;
  if (type == DType::kQ5_0 || type == DType::kQ5_K) {
    high[at] |= static_cast<std::uint8_t>(code >> 4 << chunk);
  } else if (type == DType::kQ6_K) {
    high[64 * (chunk / 4) + at] |= static_cast<std::uint8_t>(code >> 4 << 2 * (chunk % 4));
  }
}

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

void dequantize_row(DType type, const std::byte* row, std::int64_t cols, float* out) {
  const DTypeBlock block = dtype_block(type);
  CHECK(cols % block.elements == 0);
  const std::uint8_t* at = bytes_of(row);
  for (std::int64_t c = 0; c < cols; c += block.elements, at += block.bytes) {
    const Factors factors = read_factors(type, at);
    for (int g = 0; g < block.elements / kQuantGroup; ++g) {
      Group group;
      read_group(type, at, g, group);
      for (int j = 0; j < kQuantGroup; ++j) out[c + g * kQuantGroup + j] = group_value(type, factors, group, j);
    }
  }
}

void pack_block(WeightFormat format, const std::byte* rows, int count, std::int64_t cols, std::byte* packed) {
  const DType type = format_dtype(format);
  const DTypeBlock block = dtype_block(type);
  const FormatUnit unit = format_unit(format);
  const UnitLayout layout(format);
  CHECK(is_quantized(format) && cols % unit.cols == 0 && count >= 0 && count <= kRowInterleave);
  const std::int64_t units = cols / unit.cols;
  std::memset(packed, 0, static_cast<std::size_t>(units * unit.bytes));
  for (std::int64_t u = 0; u < units; ++u) {
    std::uint8_t* to = reinterpret_cast<std::uint8_t*>(packed) + u * unit.bytes;
    for (int lane = 0; lane < count; ++lane) {
      const std::uint8_t* from = bytes_of(rows) + lane * dtype_row_bytes(type, cols) + u * block.bytes;
      const Factors factors = read_factors(type, from);
      if (layout.header > 0) std::memcpy(to + 2 * lane, &factors.d, 2);
      if (layout.has_m) std::memcpy(to + 32 + 2 * lane, &factors.m, 2);
      for (int g = 0; g < layout.groups; ++g) {
        Group group;
        read_group(type, from, g, group);
        std::uint8_t* part = to + layout.header + g * layout.group_bytes;
        for (int s = 0; s < layout.small_scales; ++s) part[kRowInterleave * s + lane] = group.scale[s];
        std::uint8_t* codes = part + kRowInterleave * layout.small_scales;
        for (int j = 0; j < kQuantGroup; ++j) put_code(type, codes, lane, j, group.codes[j]);
      }
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
    if (layout.header > 0) factors.d = load_u16(from + 2 * lane);
    if (layout.has_m) factors.m = load_u16(from + 32 + 2 * lane);
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

}  // namespace

void unpack_row(const PackedWeight& weight, std::int64_t row, float* out) {
  CHECK(row >= 0 && row < weight.rows);
  if (is_quantized(weight.format)) return unpack_quantized_row(weight, row, out);
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
