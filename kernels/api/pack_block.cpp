// pack_block(): four codes at a time. The packed layout keeps the four columns of a chunk side by side for each row, so
// a chunk of a row is one 32-bit word in the block and one word, or a part of the bits of one, in the packed unit;
// words are moved and their bits rearranged with shifts and masks. kernels/ref/ref_pack.cpp says the same code by code.
#include <bit>
#include <cstring>

#include "kernels/api/block_parts.h"
#include "kernels/api/blocks.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

using Byte = std::uint8_t;
using Word = std::uint32_t;
using Pair = std::uint64_t;  // two neighbouring words, the first one in the low half

static_assert(std::endian::native == std::endian::little, "words are taken apart by shifts");

constexpr int kChunks = 8;       // of four columns, in a group
constexpr int kChunkBytes = 64;  // of sixteen rows
constexpr Pair kLow1 = 0x0101010101010101u;
constexpr Pair kLow2 = 0x0303030303030303u;
constexpr Pair kLow4 = 0x0f0f0f0f0f0f0f0fu;

inline Word get(const Byte* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

inline Pair get_pair(const Byte* from) {
  Pair pair;
  std::memcpy(&pair, from, sizeof pair);
  return pair;
}

inline void put(Byte* to, int chunk, int lane, Word word) {
  std::memcpy(to + kChunkBytes * chunk + 4 * lane, &word, sizeof word);
}

inline void put_factors(const Byte* from, Byte* to, int lane, int count) {
  for (int i = 0; i < count; ++i) std::memcpy(to + 32 * i + 2 * lane, from + 2 * i, 2);
}

// Nibbles of a block of 32 are paired as the packed ones are: column j below column j + 16.
inline void move_nibbles(const Byte* from, Byte* codes, int lane) {
  for (int c = 0; c < kChunks / 2; ++c) put(codes, c, lane, get(from + 4 * c));
}

// Sixteen pairs out of 32 nibbles that lie in the low (shift 0) or high (shift 4) halves of 32 bytes.
inline void pair_nibbles(const Byte* from, int shift, Byte* codes, int lane) {
  for (int c = 0; c < kChunks / 2; c += 2) {
    const Pair low = get_pair(from + 4 * c) >> shift & kLow4;
    const Pair high = get_pair(from + 4 * (c + kChunks / 2)) >> shift & kLow4;
    const Pair paired = low | high << 4;
    put(codes, c, lane, static_cast<Word>(paired));
    put(codes, c + 1, lane, static_cast<Word>(paired >> 32));
  }
}

inline void pack_q8_0(const Byte* from, Byte* to, int lane) {
  put_factors(from, to, lane, 1);
  for (int c = 0; c < kChunks; ++c) put(to + 32, c, lane, get(from + 2 + 4 * c) ^ 0x80808080u);
}

inline void pack_q4_0(const Byte* from, Byte* to, int lane) {
  put_factors(from, to, lane, 1);
  move_nibbles(from + 2, to + 32, lane);
}

inline void pack_q4_1(const Byte* from, Byte* to, int lane) {
  put_factors(from, to, lane, 2);
  move_nibbles(from + 4, to + 64, lane);
}

inline void pack_mxfp4(const Byte* from, Byte* to, int lane) {
  to[lane] = from[0];
  move_nibbles(from + 1, to + kRowInterleave, lane);
}

// Bit 4 of column j is bit j of a word; packed, bit c of byte i is that of column 4 * c + i.
inline void pack_q5_0(const Byte* from, Byte* to, int lane) {
  put_factors(from, to, lane, 1);
  move_nibbles(from + 6, to + 32, lane);
  const Word bits = get(from + 2);
  Word high = 0;
  for (int c = 0; c < kChunks; ++c) {
    const Word four = bits >> 4 * c & 15;
    high |= ((four * 0x00204081u) & 0x01010101u) << c;  // bit i to byte i
  }
  put(to + 32 + 256, 0, lane, high);
}

// q4_k, q5_k: d, dmin, scales, for five bits 32 bytes of fifth bits, 128 bytes of nibbles.
template <bool five>
inline void pack_k45(const Byte* from, Byte* to, int lane) {
  constexpr int kGroupBytes = 32 + 256 + (five ? 64 : 0);
  put_factors(from, to, lane, 2);
  const Byte* fifth = from + 16;
  for (int g = 0; g < kChunks; ++g) {
    Byte* group = to + 64 + g * kGroupBytes;
    Byte scale[2];
    scale_and_min(from + 4, g, scale);
    group[lane] = scale[0];
    group[kRowInterleave + lane] = scale[1];
    pair_nibbles(from + (five ? 48 : 16) + g / 2 * kQuantGroup, g % 2 * 4, group + 32, lane);
    if (!five) continue;
    Pair high = 0;  // even chunks in the low half
    for (int c = 0; c < kChunks; c += 2) high |= (get_pair(fifth + 4 * c) >> g & kLow1) << c;
    put(group + 32 + 256, 0, lane, static_cast<Word>(high) | static_cast<Word>(high >> 32) << 1);
  }
}

// q6_k: ql[128], qh[64], scales[16], d. Each half of 128 elements takes 64 of ql and 32 of qh.
inline void pack_q6_k(const Byte* from, Byte* to, int lane) {
  constexpr int kGroupBytes = 32 + 256 + 128;
  put_factors(from + 208, to, lane, 1);
  for (int g = 0; g < kChunks; ++g) {
    const int part = g % 4;
    Byte* group = to + 32 + g * kGroupBytes;
    group[lane] = from[192 + 2 * g];
    group[kRowInterleave + lane] = from[192 + 2 * g + 1];
    pair_nibbles(from + g / 4 * 64 + part % 2 * kQuantGroup, part / 2 * 4, group + 32, lane);
    const Byte* upper = from + 128 + g / 4 * 32;
    for (int half = 0; half < 2; ++half) {
      const Pair first = get_pair(upper + 16 * half) >> 2 * part & kLow2;
      const Pair second = get_pair(upper + 16 * half + 8) >> 2 * part & kLow2;
      const Pair bits = first | second << 4;
      put(group + 32 + 256, half, lane, static_cast<Word>(bits) | static_cast<Word>(bits >> 32) << 2);
    }
  }
}

inline void pack_fp8(const Byte* from, Byte* to, int lane) {
  std::memcpy(to + 4 * lane, from, 4);
  for (int j = 0; j < 128; ++j) to[64 + kRowInterleave * j + lane] = from[4 + j];
}

// Unit after unit, so that the packed bytes are written once and in order.
template <class PackLane>
void pack_units(WeightFormat format, const Byte* rows, int count, std::int64_t cols, Byte* packed, PackLane pack_lane) {
  const DTypeBlock block = dtype_block(format_dtype(format));
  const FormatUnit unit = format_unit(format);
  const std::int64_t row_bytes = dtype_row_bytes(format_dtype(format), cols);
  for (std::int64_t u = 0; u < cols / unit.cols; ++u) {
    Byte* to = packed + u * unit.bytes;
    if (count < kRowInterleave) std::memset(to, 0, static_cast<std::size_t>(unit.bytes));
    for (int lane = 0; lane < count; ++lane) pack_lane(rows + lane * row_bytes + u * block.bytes, to, lane);
  }
}

}  // namespace

void pack_block(WeightFormat format, const std::byte* rows, int count, std::int64_t cols, std::byte* packed) {
  CHECK(has_blocks(format) && cols % format_unit(format).cols == 0 && count >= 0 && count <= kRowInterleave);
  const Byte* from = reinterpret_cast<const Byte*>(rows);
  Byte* to = reinterpret_cast<Byte*>(packed);
  const auto run = [&](auto pack_lane) { pack_units(format, from, count, cols, to, pack_lane); };
  switch (format) {
    case WeightFormat::kQ8_0: return run([](auto... a) { pack_q8_0(a...); });
    case WeightFormat::kQ4_0: return run([](auto... a) { pack_q4_0(a...); });
    case WeightFormat::kQ4_1: return run([](auto... a) { pack_q4_1(a...); });
    case WeightFormat::kQ5_0: return run([](auto... a) { pack_q5_0(a...); });
    case WeightFormat::kQ4_K: return run([](auto... a) { pack_k45<false>(a...); });
    case WeightFormat::kQ5_K: return run([](auto... a) { pack_k45<true>(a...); });
    case WeightFormat::kQ6_K: return run([](auto... a) { pack_q6_k(a...); });
    case WeightFormat::kMxfp4: return run([](auto... a) { pack_mxfp4(a...); });
    case WeightFormat::kFp8: return run([](auto... a) { pack_fp8(a...); });
    default: CHECK(!"a format with blocks");
  }
}

}  // namespace foregate
