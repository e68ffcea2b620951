// Packed quantized weights (kernels/api/quant.h) as kernels read them: a group of 32 columns of two neighbouring rows
// is the A side of one mma.m16n8k32. Row 2 * pair of the sixteen stands for the instruction's row `pair`, row 2 * pair
// + 1 for its row pair + 8, so that a lane reads the codes of its two rows in one piece.
#pragma once

#include "kernels/api/quant.h"
#include "kernels/cuda/intrinsics.cuh"

namespace foregate::cuda {

template <WeightFormat F>
struct QuantFormat {
  static constexpr FormatUnit kUnit = format_unit(F);
  static constexpr bool kSuper = kUnit.cols == 256;
  static constexpr bool kHasMin = F == WeightFormat::kQ4_1 || F == WeightFormat::kQ4_K || F == WeightFormat::kQ5_K;
  static constexpr bool kTwoScales = F == WeightFormat::kQ6_K;  // columns 0-15 and 16-31 of a group
  static constexpr int kHeader = F == WeightFormat::kMxfp4 ? 0 : kHasMin ? 64 : 32;
  static constexpr int kSmallScales = F == WeightFormat::kMxfp4 ? 1 : kSuper ? 2 : 0;
  static constexpr int kGroups = kUnit.cols / kQuantGroup;
  static constexpr int kGroupBytes = (kUnit.bytes - kHeader) / kGroups;
  // Subtracted from the unsigned codes.
  static constexpr int kZero = F == WeightFormat::kQ8_0    ? 128
                               : F == WeightFormat::kQ4_0  ? 8
                               : F == WeightFormat::kQ5_0  ? 16
                               : F == WeightFormat::kQ6_K  ? 32
                               : F == WeightFormat::kMxfp4 ? 12
                                                           : 0;
};

// What one lane holds of a group: codes of its two rows, four columns of each half; factors of its two rows.
struct QuantGroup {
  std::uint32_t a[4];  // as mma_u8s8 takes them
  float scale[2];      // w = scale * (code - zero) + min
  float second[2];     // of columns 16-31, with kTwoScales
  float min[2];
};

// 2^(e - 128): the doubled elements of MXFP4 take half its scale.
__device__ __forceinline__ float half_e8m0(std::uint32_t e) {
  return __uint_as_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

// Four nibbles of E2M1 as doubled values + 12: 0 1 2 3 4 6 8 12 and their negatives.
__device__ __forceinline__ std::uint32_t e2m1_codes(std::uint32_t nibbles) {
  const std::uint32_t at = nibbles & 0x07070707u;
  const std::uint32_t selector = (at & 7u) | (at >> 4 & 0x70u) | (at >> 8 & 0x700u) | (at >> 12 & 0x7000u);
  const std::uint32_t plus = byte_perm(0x0f0e0d0cu, 0x18141210u, selector);
  const std::uint32_t minus = byte_perm(0x090a0b0cu, 0x00040608u, selector);
  const std::uint32_t negative = (nibbles >> 3 & 0x01010101u) * 0xffu;
  return (plus & ~negative) | (minus & negative);
}

// One factor of two rows, f16.
__device__ __forceinline__ void load_halves(const std::uint8_t* at, int pair, float (&out)[2]) {
  const std::uint32_t word = __ldg(reinterpret_cast<const std::uint32_t*>(at) + pair);
  out[0] = f16_to_f32(static_cast<std::uint16_t>(word));
  out[1] = f16_to_f32(static_cast<std::uint16_t>(word >> 16));
}

template <WeightFormat F>
__device__ __forceinline__ void load_factors(const std::uint8_t* unit, const std::uint8_t* part, int pair,
                                             QuantGroup& group) {
  using Format = QuantFormat<F>;
  if constexpr (F == WeightFormat::kMxfp4) {
    const std::uint32_t e = __ldg(reinterpret_cast<const std::uint16_t*>(part) + pair);
    group.scale[0] = half_e8m0(e & 0xff);
    group.scale[1] = half_e8m0(e >> 8);
    return;
  } else {
    load_halves(unit, pair, group.scale);
    if constexpr (Format::kHasMin) load_halves(unit + 32, pair, group.min);
    if constexpr (Format::kSmallScales == 2) {
      const std::uint32_t first = __ldg(reinterpret_cast<const std::uint16_t*>(part) + pair);
      const std::uint32_t second = __ldg(reinterpret_cast<const std::uint16_t*>(part + 16) + pair);
      for (int r = 0; r < 2; ++r) {
        const std::uint32_t s0 = first >> 8 * r & 0xff;
        const std::uint32_t s1 = second >> 8 * r & 0xff;
        if constexpr (Format::kTwoScales) {
          group.second[r] = group.scale[r] * static_cast<float>(static_cast<std::int8_t>(s1));
          group.scale[r] *= static_cast<float>(static_cast<std::int8_t>(s0));
        } else {
          group.scale[r] *= static_cast<float>(s0);
          group.min[r] *= -static_cast<float>(s1);
        }
      }
    }
  }
}

// Chunks `quad` and quad + 4 of the rows of `pair`, with bits above the nibbles where the format has them.
template <WeightFormat F>
__device__ __forceinline__ void load_codes(const std::uint8_t* codes, int pair, int quad, std::uint32_t (&a)[4]) {
  const uint2* words = reinterpret_cast<const uint2*>(codes) + pair;
  const uint2 low = load_once(words + 8 * quad);
  if constexpr (F == WeightFormat::kQ8_0) {
    const uint2 high = load_once(words + 8 * (quad + 4));
    a[0] = low.x;
    a[1] = low.y;
    a[2] = high.x;
    a[3] = high.y;
    return;
  }
  a[0] = low.x & 0x0f0f0f0fu;
  a[1] = low.y & 0x0f0f0f0fu;
  a[2] = low.x >> 4 & 0x0f0f0f0fu;
  a[3] = low.y >> 4 & 0x0f0f0f0fu;
  if constexpr (F == WeightFormat::kMxfp4) {
    for (std::uint32_t& word : a) word = e2m1_codes(word);
  } else if constexpr (F == WeightFormat::kQ5_0 || F == WeightFormat::kQ5_K) {
    const uint2 bits = load_once(words + 32);
    a[0] |= (bits.x >> quad & 0x01010101u) << 4;
    a[1] |= (bits.y >> quad & 0x01010101u) << 4;
    a[2] |= (bits.x >> (quad + 4) & 0x01010101u) << 4;
    a[3] |= (bits.y >> (quad + 4) & 0x01010101u) << 4;
  } else if constexpr (F == WeightFormat::kQ6_K) {
    const uint2 first = load_once(words + 32);
    const uint2 second = load_once(words + 40);
    a[0] |= (first.x >> 2 * quad & 0x03030303u) << 4;
    a[1] |= (first.y >> 2 * quad & 0x03030303u) << 4;
    a[2] |= (second.x >> 2 * quad & 0x03030303u) << 4;
    a[3] |= (second.y >> 2 * quad & 0x03030303u) << 4;
  }
}

// Group `index` of a block of sixteen rows that begins at `rows`.
template <WeightFormat F>
__device__ __forceinline__ void load_group(const std::uint8_t* rows, std::int64_t index, int pair, int quad,
                                           QuantGroup& group) {
  using Format = QuantFormat<F>;
  const std::uint8_t* unit = rows + index / Format::kGroups * Format::kUnit.bytes;
  const std::uint8_t* part = unit + Format::kHeader + static_cast<int>(index % Format::kGroups) * Format::kGroupBytes;
  load_codes<F>(part + kRowInterleave * Format::kSmallScales, pair, quad, group.a);
  load_factors<F>(unit, part, pair, group);
}

}  // namespace foregate::cuda
