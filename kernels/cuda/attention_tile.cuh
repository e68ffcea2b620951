// Tiles of keys and values as the A side of matrix instructions, straight from their pages. A tile of keys is sixteen
// positions by sixteen dimensions and lies in a page like sixteen weight rows (tile_product.cuh): position 2p stands
// for the instruction's row p, 2p + 1 for row p + 8. Values are taken transposed, a lane reading eight dimensions at
// once.
#pragma once

#include "kernels/cuda/attention.h"
#include "kernels/cuda/tile_product.cuh"

namespace foregate::cuda {

// How a type of pages meets the tensor cores: 16-bit ones as they are, f32 in two bf16 parts.
template <DType T>
struct KvParts {
  static constexpr int kParts = T == DType::kF32 ? 2 : 1;
  static constexpr bool kHalf = T == DType::kF16;
};

template <DType T>
__device__ __forceinline__ std::uint32_t pack_pair(float low, float high) {
  return KvParts<T>::kHalf ? pack_f16(low, high) : pack_bf16(low, high);
}
template <DType T>
__device__ __forceinline__ float unpack_half(std::uint32_t bits) {
  return KvParts<T>::kHalf ? f16_to_f32(static_cast<std::uint16_t>(bits)) : __uint_as_float(bits << 16);
}
// The high parts of two values, and of what is left of them.
template <DType T>
__device__ __forceinline__ uint2 split_pair(float low, float high) {
  const std::uint32_t first = pack_pair<T>(low, high);
  return make_uint2(first, pack_pair<T>(low - unpack_half<T>(first & 0xffffu), high - unpack_half<T>(first >> 16)));
}

template <DType T>
__device__ __forceinline__ void mma_kv(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  if constexpr (KvParts<T>::kHalf) {
    mma_f16(d, a, b);
  } else {
    mma_bf16(d, a, b);
  }
}
// d += a * (high + low).
template <DType T, int kParts>
__device__ __forceinline__ void mma_parts(float (&d)[4], const std::uint32_t (&a)[kParts][4],
                                          const std::uint32_t (&high)[2], const std::uint32_t (&low)[2]) {
  mma_kv<T>(d, a[0], high);
  mma_kv<T>(d, a[0], low);
  if constexpr (kParts == 2) mma_kv<T>(d, a[1], high);
}

// The pages of one sequence and kv head.
template <DType T>
struct SequencePages {
  using Element = std::conditional_t<T == DType::kF32, float, std::uint16_t>;
  KvPages pages;
  const std::int32_t* table;
  int head;
  int low, high;  // positions that exist
  bool whole;     // pages hold whole groups of sixteen positions

  __device__ __forceinline__ bool exists(int position) const { return position >= low && position <= high; }
  __device__ __forceinline__ std::int64_t block(int position) const { return table[position / pages.block_size]; }
  __device__ __forceinline__ Element key(int position, int d) const {
    if (!exists(position) || d >= pages.head_dim) return Element(0);
    const int inside = position % pages.block_size;
    const std::int64_t at = key_index(pages, block(position), head, inside) + d * key_step(pages, inside);
    return static_cast<const Element*>(pages.k)[at];
  }
  __device__ __forceinline__ const Element* values(int position) const {
    const int inside = position % pages.block_size;
    return static_cast<const Element*>(pages.v) + value_index(pages, block(position), head, inside);
  }
};

template <DType T>
struct KeyTile {
  std::uint32_t part[KvParts<T>::kParts][4];
};

// Two neighbouring values as parts.
template <DType T, class Element>
__device__ __forceinline__ void put_pair(Element first, Element second, std::uint32_t* high, std::uint32_t* low) {
  if constexpr (T == DType::kF32) {
    const uint2 both = split_pair<T>(first, second);
    *high = both.x;
    *low = both.y;
  } else {
    *high = static_cast<std::uint32_t>(first) | static_cast<std::uint32_t>(second) << 16;
  }
}

// Positions [first, first + 16), dimensions [16 * step, ..).
template <DType T>
__device__ __forceinline__ void load_keys(const SequencePages<T>& seq, int first, int step, KeyTile<T>& out) {
  constexpr int kParts = KvParts<T>::kParts;
  const int pair = threadIdx.x % kWarpLanes / 4;
  const int quad = threadIdx.x % 4;
  if (seq.whole) {
    constexpr WeightFormat kAs = T == DType::kF32 ? WeightFormat::kF32 : WeightFormat::kBF16;
    const std::int64_t at = key_index(seq.pages, seq.block(first), seq.head, first % seq.pages.block_size);
    const auto* rows = static_cast<const typename SequencePages<T>::Element*>(seq.pages.k) + at;
    StepWeights<kAs> words;
    load_step<kAs>(reinterpret_cast<const std::uint8_t*>(rows), step, seq.pages.head_dim, pair, quad, words);
    for (int p = 0; p < kParts; ++p) {
      for (int i = 0; i < 4; ++i) out.part[p][i] = words.part[p][i];
    }
    return;
  }
  for (int i = 0; i < 4; ++i) {
    const int position = first + 2 * pair + i % 2;
    const int d = kStepCols * step + 2 * quad + i / 2 * 8;
    put_pair<T>(seq.key(position, d), seq.key(position, d + 1), &out.part[0][i], &out.part[kParts - 1][i]);
  }
}

// Eight dimensions of one position: two 16-bit values in a word, or one f32.
template <DType T>
struct ValueRow {
  static constexpr int kWords = T == DType::kF32 ? 8 : 4;
  std::uint32_t words[kWords];
};

template <DType T>
__device__ __forceinline__ void load_values(const SequencePages<T>& seq, int position, int d, ValueRow<T>& out) {
  constexpr int kWords = ValueRow<T>::kWords;
#pragma unroll
  for (int i = 0; i < kWords; ++i) out.words[i] = 0;
  if (!seq.exists(position) || d >= seq.pages.head_dim) return;
  const auto* from = seq.values(position) + d;
  if (seq.pages.head_dim % 8 == 0) {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      const uint4 four = load_once(reinterpret_cast<const uint4*>(from) + i / 4);
      out.words[i] = four.x;
      out.words[i + 1] = four.y;
      out.words[i + 2] = four.z;
      out.words[i + 3] = four.w;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (d + i >= seq.pages.head_dim) continue;
    if constexpr (T == DType::kF32) {
      out.words[i] = __float_as_uint(from[i]);
    } else {
      out.words[i / 2] |= static_cast<std::uint32_t>(from[i]) << 16 * (i % 2);
    }
  }
}

// Dimensions 2i and 2i + 1 of each lane's eight, of four positions, as the A side: position order as transposed()
// leaves the columns of a product of keys.
template <DType T>
__device__ __forceinline__ void value_tile(const ValueRow<T> (&rows)[4], int i, KeyTile<T>& out) {
  if constexpr (T == DType::kF32) {
    for (int r = 0; r < 2; ++r) {
      const auto value = [&](int position) { return __uint_as_float(rows[position].words[2 * i + r]); };
      put_pair<T>(value(0), value(2), &out.part[0][r], &out.part[1][r]);
      put_pair<T>(value(1), value(3), &out.part[0][2 + r], &out.part[1][2 + r]);
    }
  } else {
    out.part[0][0] = pair_low(rows[0].words[i], rows[2].words[i]);
    out.part[0][1] = pair_high(rows[0].words[i], rows[2].words[i]);
    out.part[0][2] = pair_low(rows[1].words[i], rows[3].words[i]);
    out.part[0][3] = pair_high(rows[1].words[i], rows[3].words[i]);
  }
}

}  // namespace foregate::cuda
