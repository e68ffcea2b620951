#include "kernels/api/block_parts.h"

#include <cstring>

#include "kernels/api/check.h"

namespace foregate {
namespace {

std::uint16_t load_u16(const std::uint8_t* p) {
  return static_cast<std::uint16_t>(p[0] | p[1] << 8);
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

}  // namespace

void scale_and_min(const std::uint8_t* packed, int j, std::uint8_t (&out)[2]) {
  if (j < 4) {
    out[0] = packed[j] & 63;
    out[1] = packed[j + 4] & 63;
  } else {
    out[0] = static_cast<std::uint8_t>((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4));
    out[1] = static_cast<std::uint8_t>((packed[j + 4] >> 4) | (packed[j] >> 6 << 4));
  }
}

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

UnitLayout::UnitLayout(WeightFormat format) {
  const DType type = format_dtype(format);
  const bool two = type == DType::kQ4_1 || type == DType::kQ4_K || type == DType::kQ5_K;
  const bool super = dtype_block(type).elements == kSuperBlock;
  header = type == DType::kMxfp4 ? 0 : two ? 64 : 32;
  small_scales = type == DType::kMxfp4 ? 1 : super ? 2 : 0;
  has_m = two;
  groups = super ? kSuperBlock / kQuantGroup : 1;
  group_bytes = (format_unit(format).bytes - header) / groups;
}

}  // namespace foregate
