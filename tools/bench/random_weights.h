// Fills packed matrices with random weights straight in the layout of kernels/api/quant.h: random codes under scales
// that give the standard deviation asked for, and no mean. Same seed, same bytes, whatever the thread. Pure.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/api/quant.h"

namespace foregate {

// SplitMix64 (Steele, Lea, Flood, OOPSLA'14): fast, and good enough for weights.
class FastRandom {
 public:
  explicit FastRandom(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  double uniform();  // in (0, 1)
  float normal();    // standard
  std::uint32_t below(std::uint32_t end);

 private:
  std::uint64_t state_;
};

// A seed for stream `number` of `seed`.
std::uint64_t stream_seed(std::uint64_t seed, std::uint64_t number);

// Fills all packed_bytes() of a rows x cols matrix; rows is a multiple of kRowInterleave, cols of the format's unit.
// Of scalar formats and mxfp4, whose scales are powers of two, the deviation is off by up to a factor of 1.5.
void fill_random(WeightFormat format, std::int64_t rows, std::int64_t cols, float deviation, std::uint64_t seed,
                 std::byte* packed);

// Packs row-major f32 values [rows, cols]; padding rows become zero.
void pack_f32(std::span<const float> values, std::int64_t rows, std::int64_t cols, std::byte* packed);

}  // namespace foregate
