// One warp's product of sixteen weight rows with up to kTiles tiles of eight activation rows over a range of steps: the
// heart of every matrix op. Sums stay in the lanes as the matrix instructions leave them: y[tile][c] is weight row
// 2 * (lane / 4) + c / 2 and activation row 2 * (lane % 4) + c % 2. A step adds to an output in an order that does not
// depend on how many tiles share the pass.
#pragma once

#include "kernels/cuda/prepare.h"
#include "kernels/cuda/quant_format.cuh"

namespace foregate::cuda {

// Activations of a product: tile i at data + i * tile_bytes.
struct PreparedTiles {
  const std::byte* data;
  std::int64_t tile_bytes;
  int count;  // that hold rows
};

__device__ __forceinline__ std::uint32_t pair_low(std::uint32_t first, std::uint32_t second) {
  return byte_perm(first, second, 0x5410);
}
__device__ __forceinline__ std::uint32_t pair_high(std::uint32_t first, std::uint32_t second) {
  return byte_perm(first, second, 0x7632);
}

// The A side of a step of 16 columns: bf16 parts of the weights whose sum is the weight, the rest of it below 2^-17.
template <WeightFormat F>
struct StepWeights {
  static constexpr int kParts = F == WeightFormat::kF16 || F == WeightFormat::kF32 ? 2 : 1;
  std::uint32_t part[kParts][4];
};

// Two neighbouring rows at column k, zero from `cols` on.
template <WeightFormat F>
__device__ __forceinline__ auto load_rows(const std::uint8_t* rows, std::int64_t k, std::int64_t cols, int pair) {
  if constexpr (F == WeightFormat::kF32) {
    const uint2 none = make_uint2(0, 0);
    return k < cols ? load_once(reinterpret_cast<const uint2*>(rows) + k * 8 + pair) : none;
  } else {
    return k < cols ? load_once(reinterpret_cast<const std::uint32_t*>(rows) + k * 8 + pair) : 0u;
  }
}

// Value of row r of a pair as f32.
__device__ __forceinline__ float row_value(uint2 rows, int r) {
  return __uint_as_float(r == 0 ? rows.x : rows.y);
}
__device__ __forceinline__ float row_value(std::uint32_t rows, int r) {
  return f16_to_f32(static_cast<std::uint16_t>(rows >> 16 * r));
}

template <WeightFormat F>
__device__ __forceinline__ void load_step(const std::uint8_t* rows, std::int64_t step, std::int64_t cols, int pair,
                                          int quad, StepWeights<F>& out) {
  const std::int64_t k = step * kStepCols + 2 * quad;
  const auto w0 = load_rows<F>(rows, k, cols, pair);
  const auto w1 = load_rows<F>(rows, k + 1, cols, pair);
  const auto w2 = load_rows<F>(rows, k + 8, cols, pair);
  const auto w3 = load_rows<F>(rows, k + 9, cols, pair);
  if constexpr (F == WeightFormat::kBF16) {
    out.part[0][0] = pair_low(w0, w1);
    out.part[0][1] = pair_high(w0, w1);
    out.part[0][2] = pair_low(w2, w3);
    out.part[0][3] = pair_high(w2, w3);
  } else {
    for (int r = 0; r < 2; ++r) {
      const float v[4] = {row_value(w0, r), row_value(w1, r), row_value(w2, r), row_value(w3, r)};
      for (int half = 0; half < 2; ++half) {
        const std::uint32_t high = pack_bf16(v[2 * half], v[2 * half + 1]);
        out.part[0][2 * half + r] = high;
        out.part[1][2 * half + r] =
            pack_bf16(v[2 * half] - __uint_as_float(high << 16), v[2 * half + 1] - __uint_as_float(high & 0xffff0000u));
      }
    }
  }
}

// Four E4M3 codes, one in each byte pair position of two words, as bf16: exact.
__device__ __forceinline__ float e4m3_value(std::uint32_t code) {
  const float magnitude = __uint_as_float((code & 0x7fu) << 20) * 0x1p120f;
  return (code & 0x80u) != 0 ? -magnitude : magnitude;
}
__device__ __forceinline__ std::uint32_t e4m3_pair(std::uint32_t first, std::uint32_t second) {
  return pack_bf16(e4m3_value(first), e4m3_value(second));
}

// Step of a unit of fp8: bytes [k][16 rows].
__device__ __forceinline__ void load_fp8_step(const std::uint8_t* codes, int step, int pair, int quad,
                                              std::uint32_t (&a)[4]) {
  const auto* words = reinterpret_cast<const std::uint16_t*>(codes) + (step * kStepCols + 2 * quad) * 8 + pair;
  const std::uint32_t w0 = __ldg(words), w1 = __ldg(words + 8), w2 = __ldg(words + 64), w3 = __ldg(words + 72);
  a[0] = e4m3_pair(w0, w1);
  a[1] = e4m3_pair(w0 >> 8, w1 >> 8);
  a[2] = e4m3_pair(w2, w3);
  a[3] = e4m3_pair(w2 >> 8, w3 >> 8);
}

__device__ __forceinline__ uint4 tile_step(const PreparedTiles& x, int tile, std::int64_t step, int lane) {
  return reinterpret_cast<const uint4*>(x.data + tile * x.tile_bytes + step * kStepBytes)[lane];
}

// Weights by the high part of x, then by its low part.
template <int kParts>
__device__ __forceinline__ void multiply_step(const std::uint32_t (&part)[kParts][4], const uint4& x, float (&y)[4]) {
  const std::uint32_t high[2] = {x.x, x.y};
  const std::uint32_t low[2] = {x.z, x.w};
  mma_bf16(y, part[0], high);
  mma_bf16(y, part[0], low);
  if constexpr (kParts == 2) mma_bf16(y, part[1], high);
}

// Where a warp's steps come in bundles: so many are read before the first is used.
inline constexpr int kReadAhead = 4;

template <WeightFormat F, int kTiles>
__device__ __forceinline__ void multiply_scalar(const std::uint8_t* rows, std::int64_t cols, const PreparedTiles& x,
                                                std::int64_t first, std::int64_t last, float (&y)[kTiles][4]) {
  const int lane = threadIdx.x % kWarpLanes;
  for (std::int64_t step = first; step < last; step += kReadAhead) {
    StepWeights<F> weights[kReadAhead];
#pragma unroll
    for (int i = 0; i < kReadAhead; ++i) {
      if (step + i < last) load_step<F>(rows, step + i, cols, lane / 4, lane % 4, weights[i]);
    }
#pragma unroll
    for (int i = 0; i < kReadAhead; ++i) {
      if (step + i >= last) break;
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        if (t < x.count) multiply_step(weights[i].part, tile_step(x, t, step + i, lane), y[t]);
      }
    }
  }
}

// Steps of a unit of 128 columns are summed, then scaled; a warp takes whole units.
template <int kTiles>
__device__ __forceinline__ void multiply_fp8(const std::uint8_t* rows, const PreparedTiles& x, std::int64_t first,
                                             std::int64_t last, float (&y)[kTiles][4]) {
  constexpr FormatUnit kUnit = format_unit(WeightFormat::kFp8);
  constexpr int kSteps = kUnit.cols / kStepCols;
  const int lane = threadIdx.x % kWarpLanes;
  for (std::int64_t unit = first; unit < last; ++unit) {
    const std::uint8_t* at = rows + unit * kUnit.bytes;
    const float* scales = reinterpret_cast<const float*>(at) + lane / 4 * 2;
    float sum[kTiles][4] = {};
    for (int step = 0; step < kSteps; ++step) {
      std::uint32_t weights[1][4];
      load_fp8_step(at + 64, step, lane / 4, lane % 4, weights[0]);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        if (t < x.count) multiply_step(weights, tile_step(x, t, unit * kSteps + step, lane), sum[t]);
      }
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      for (int c = 0; c < 4; ++c) y[t][c] += scales[c / 2] * sum[t][c];
    }
  }
}

// y += (scale * a) * sum(code' * q) + min * (a * sum(q)) for a group; the integer sums are exact.
template <WeightFormat F>
__device__ __forceinline__ void multiply_group(const QuantGroup& group, const std::byte* tile, int lane,
                                               float (&y)[4]) {
  using Format = QuantFormat<F>;
  const uint2 codes = reinterpret_cast<const uint2*>(tile)[lane];
  const float2 a = reinterpret_cast<const float2*>(tile + 256)[lane % 4];
  const uint2 sums = reinterpret_cast<const uint2*>(tile + 288)[lane % 4];
  const std::uint32_t b[2] = {codes.x, codes.y};
  const float row_scale[2] = {a.x, a.y};
  const std::int32_t row_sum[2] = {static_cast<std::int32_t>(sums.x), static_cast<std::int32_t>(sums.y)};
  std::int32_t sum[4] = {0, 0, 0, 0};
  if constexpr (Format::kTwoScales) {
    // The zero is inside each half, so the codes go signed: two instructions of half their depth.
    const std::uint32_t first[4] = {group.a[0], group.a[1], 0, 0};
    const std::uint32_t second[4] = {0, 0, group.a[2], group.a[3]};
    const std::uint32_t zero_word = Format::kZero * 0x01010101u;
    const std::uint32_t first_zero[4] = {zero_word, zero_word, 0, 0};
    const std::uint32_t second_zero[4] = {0, 0, zero_word, zero_word};
    std::int32_t other[4] = {0, 0, 0, 0}, zero0[4] = {0, 0, 0, 0}, zero1[4] = {0, 0, 0, 0};
    mma_u8s8(sum, first, b);
    mma_u8s8(other, second, b);
    mma_u8s8(zero0, first_zero, b);
    mma_u8s8(zero1, second_zero, b);
    for (int c = 0; c < 4; ++c) {
      y[c] += group.scale[c / 2] * row_scale[c % 2] * static_cast<float>(sum[c] - zero0[c]);
      y[c] += group.second[c / 2] * row_scale[c % 2] * static_cast<float>(other[c] - zero1[c]);
    }
    return;
  }
  mma_u8s8(sum, group.a, b);
  for (int c = 0; c < 4; ++c) {
    const std::int32_t exact = sum[c] - Format::kZero * row_sum[c % 2];
    y[c] += group.scale[c / 2] * row_scale[c % 2] * static_cast<float>(exact);
    if constexpr (Format::kHasMin) {
      y[c] += group.min[c / 2] * (row_scale[c % 2] * static_cast<float>(row_sum[c % 2]));
    }
  }
}

template <WeightFormat F, int kTiles>
__device__ __forceinline__ void multiply_codes(const std::uint8_t* rows, const PreparedTiles& x, std::int64_t first,
                                               std::int64_t last, float (&y)[kTiles][4]) {
  const int lane = threadIdx.x % kWarpLanes;
  for (std::int64_t step = first; step < last; step += kReadAhead) {
    QuantGroup groups[kReadAhead];
#pragma unroll
    for (int i = 0; i < kReadAhead; ++i) {
      if (step + i < last) load_group<F>(rows, step + i, lane / 4, lane % 4, groups[i]);
    }
#pragma unroll
    for (int i = 0; i < kReadAhead; ++i) {
      if (step + i >= last) break;
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        const std::byte* tile = x.data + t * x.tile_bytes + (step + i) * kGroupTileBytes;
        if (t < x.count) multiply_group<F>(groups[i], tile, lane, y[t]);
      }
    }
  }
}

// Pieces that the steps of a row are cut into: steps, or units of fp8.
template <WeightFormat F>
__host__ __device__ constexpr std::int64_t product_steps(std::int64_t cols) {
  return is_quantized(F) ? cols / kQuantGroup : F == WeightFormat::kFp8 ? cols / 128 : (cols + 15) / kStepCols;
}

// y += rows [16, cols] times x over pieces [first, last).
template <WeightFormat F, int kTiles>
__device__ __forceinline__ void multiply(const std::uint8_t* rows, std::int64_t cols, const PreparedTiles& x,
                                         std::int64_t first, std::int64_t last, float (&y)[kTiles][4]) {
  if constexpr (is_quantized(F)) {
    multiply_codes<F, kTiles>(rows, x, first, last, y);
  } else if constexpr (F == WeightFormat::kFp8) {
    multiply_fp8<kTiles>(rows, x, first, last, y);
  } else {
    multiply_scalar<F, kTiles>(rows, cols, x, first, last, y);
  }
}

}  // namespace foregate::cuda
