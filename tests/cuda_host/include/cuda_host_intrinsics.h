// What kernels/cuda/intrinsics.cuh does with PTX, by the layouts of the PTX ISA ("Matrix Fragments for mma.m16n8k16",
// "... mma.m16n8k32"), one warp at a time. Products of the matrix instructions are summed in double and rounded once.
#pragma once

#include <cuda_runtime.h>

#include "kernels/api/blocks.h"

namespace foregate::cuda {

inline float f16_to_f32(std::uint16_t bits) {
  return widen_f16(bits);
}
inline std::uint16_t f32_to_f16(float value) {
  return narrow_f16(value);
}
inline std::uint16_t f32_to_bf16(float value) {
  return narrow_bf16(value);
}
inline std::uint32_t pack_bf16(float low, float high) {
  return narrow_bf16(low) | static_cast<std::uint32_t>(narrow_bf16(high)) << 16;
}
inline std::uint32_t pack_f16(float low, float high) {
  return narrow_f16(low) | static_cast<std::uint32_t>(narrow_f16(high)) << 16;
}
inline std::uint32_t byte_perm(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = a | static_cast<std::uint64_t>(b) << 32;
  std::uint32_t out = 0;
  for (int i = 0; i < 4; ++i) out |= static_cast<std::uint32_t>(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return out;
}

namespace host {

struct MmaLane {
  void* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

// d[16][8] += a[16][k] * b[k][8] over a warp, `per_word` elements in a register, element(word, i) of either side.
template <class Out, class Sum, int kPerWord, class ElementA, class ElementB>
void multiply(void* const* lanes, ElementA element_a, ElementB element_b) {
  constexpr int kDepth = 8 * kPerWord;
  double a[16][kDepth], b[kDepth][8];
  const auto lane_at = [&](int i) { return static_cast<const MmaLane*>(lanes[i]); };
  for (int i = 0; i < 32; ++i) {
    const int group = i / 4, in_group = i % 4;
    for (int reg = 0; reg < 4; ++reg) {
      for (int e = 0; e < kPerWord; ++e) {
        const int k = in_group * kPerWord + e + (reg >= 2 ? 4 * kPerWord : 0);
        a[group + (reg % 2) * 8][k] = element_a(lane_at(i)->a[reg], e);
        if (reg < 2) b[in_group * kPerWord + e + reg * 4 * kPerWord][group] = element_b(lane_at(i)->b[reg], e);
      }
    }
  }
  for (int i = 0; i < 32; ++i) {
    Out* d = static_cast<Out*>(lane_at(i)->d);
    for (int c = 0; c < 4; ++c) {
      const int row = i / 4 + (c / 2) * 8, col = i % 4 * 2 + c % 2;
      Sum sum = static_cast<Sum>(d[c]);
      for (int k = 0; k < kDepth; ++k) sum += static_cast<Sum>(a[row][k]) * static_cast<Sum>(b[k][col]);
      d[c] = static_cast<Out>(sum);
    }
  }
}
inline double bf16_element(std::uint32_t word, int i) {
  return widen_bf16(static_cast<std::uint16_t>(word >> 16 * i));
}
inline double f16_element(std::uint32_t word, int i) {
  return widen_f16(static_cast<std::uint16_t>(word >> 16 * i));
}
inline double u8_element(std::uint32_t word, int i) {
  return static_cast<std::uint8_t>(word >> 8 * i);
}
inline double s8_element(std::uint32_t word, int i) {
  return static_cast<std::int8_t>(word >> 8 * i);
}

}  // namespace host

inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  host::MmaLane mine{d, a, b};
  emu::warp_meet(0xffffffffu, &mine, [](void* const* lanes) {
    host::multiply<float, double, 2>(lanes, host::bf16_element, host::bf16_element);
  });
}
inline void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  host::MmaLane mine{d, a, b};
  emu::warp_meet(0xffffffffu, &mine, [](void* const* lanes) {
    host::multiply<float, double, 2>(lanes, host::f16_element, host::f16_element);
  });
}
inline void mma_u8s8(std::int32_t (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  host::MmaLane mine{d, a, b};
  emu::warp_meet(0xffffffffu, &mine, [](void* const* lanes) {
    host::multiply<std::int32_t, std::int64_t, 4>(lanes, host::u8_element, host::s8_element);
  });
}

// Four 8x8 matrices of 16-bit elements; lane 8 * m + r names row r of matrix m, and gets elements (column pairs of
// rows, or with `trans` row pairs of columns) of every matrix.
template <bool kTrans>
void ldmatrix_x4(std::uint32_t (&out)[4], const void* row) {
  struct Mine {
    const void* row;
    std::uint32_t* out;
  } mine{row, out};
  emu::warp_meet(0xffffffffu, &mine, [](void* const* lanes) {
    const auto element = [&](int matrix, int r, int c) -> std::uint32_t {
      return static_cast<const std::uint16_t*>(static_cast<const Mine*>(lanes[8 * matrix + r])->row)[c];
    };
    for (int i = 0; i < 32; ++i) {
      for (int m = 0; m < 4; ++m) {
        const int fixed = i / 4, pair = i % 4 * 2;
        static_cast<Mine*>(lanes[i])->out[m] = kTrans ? element(m, pair, fixed) | element(m, pair + 1, fixed) << 16
                                                      : element(m, fixed, pair) | element(m, fixed, pair + 1) << 16;
      }
    }
  });
}

inline std::uint32_t transposed(std::uint32_t pair) {
  struct Mine {
    std::uint32_t in, out;
  } mine{pair, 0};
  emu::warp_meet(0xffffffffu, &mine, [](void* const* lanes) {
    const auto element = [&](int r, int c) {
      return static_cast<const Mine*>(lanes[4 * r + c / 2])->in >> 16 * (c % 2) & 0xffffu;
    };
    for (int i = 0; i < 32; ++i) {
      static_cast<Mine*>(lanes[i])->out = element(i % 4 * 2, i / 4) | element(i % 4 * 2 + 1, i / 4) << 16;
    }
  });
  return mine.out;
}

inline void copy_async_16(void* shared, const void* global) {
  emu::copy_async(shared, global, 16);
}
inline void copy_async_commit() {
  emu::copy_commit();
}
template <int kGroupsLeft>
void copy_async_wait() {
  emu::copy_wait(kGroupsLeft);
}

inline std::uint32_t load_once(const std::uint32_t* at) {
  return *at;
}
inline uint2 load_once(const uint2* at) {
  return *at;
}
inline uint4 load_once(const uint4* at) {
  return *at;
}

template <class T>
T& shared_block() {
  return *static_cast<T*>(emu::shared_memory());
}

}  // namespace foregate::cuda
