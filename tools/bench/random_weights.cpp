#include "tools/bench/random_weights.h"

#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/api/blocks.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr int kLanes = kRowInterleave;
constexpr std::uint8_t kMostKScale = 63;  // scales of k formats have six bits

// Deviation of the weights when every d is 1 (and every exponent 2^0): the codes are uniform.
double code_deviation(WeightFormat format) {
  switch (format) {
    case WeightFormat::kQ8_0: return 73.9;
    case WeightFormat::kQ4_0:
    case WeightFormat::kQ4_1: return 4.61;
    case WeightFormat::kQ5_0: return 9.23;
    case WeightFormat::kMxfp4: return 2.93;
    case WeightFormat::kQ4_K: return 258.0;
    case WeightFormat::kQ5_K: return 527.0;
    case WeightFormat::kQ6_K: return 1366.0;
    case WeightFormat::kFp8: return 1.47;
    default: return 1.53;  // a scalar: a random sign and mantissa under one exponent
  }
}

// What a minimum has to be, as a multiple of d, for the mean to vanish.
double mean_code(WeightFormat format) {
  if (format == WeightFormat::kQ4_1) return -7.5;
  return format == WeightFormat::kQ5_K ? 15.5 : 7.5;
}

int nearest_exponent(double value) {
  return static_cast<int>(std::lround(std::log2(value)));
}

void random_bytes(FastRandom& random, std::byte* out, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 8) {  // every unit is a multiple of eight bytes
    const std::uint64_t word = random.next();
    std::memcpy(out + i, &word, 8);
  }
}

// Keeps sign and mantissa of every element and sets its exponent.
template <class T>
void set_exponents(std::byte* out, std::int64_t bytes, T mantissa, T exponent) {
  const T sign = static_cast<T>(T{1} << (8 * sizeof(T) - 1));
  const T kept = static_cast<T>(sign | mantissa);
  for (std::int64_t i = 0; i < bytes; i += static_cast<std::int64_t>(sizeof(T))) {
    T bits;
    std::memcpy(&bits, out + i, sizeof bits);
    bits = static_cast<T>((bits & kept) | exponent);
    std::memcpy(out + i, &bits, sizeof bits);
  }
}

// The scales that begin a unit: d of each lane, and where the format has it m or dmin.
struct Scales {
  std::uint16_t d;
  std::uint16_t minimum;
  bool has_minimum;
};

Scales make_scales(WeightFormat format, float d) {
  const bool minimum = format == WeightFormat::kQ4_1 || format == WeightFormat::kQ4_K || format == WeightFormat::kQ5_K;
  return {narrow_f16(d), narrow_f16(static_cast<float>(d * mean_code(format))), minimum};
}

// Both get one random sign a lane: so rows have no mean in common.
void write_scales(const Scales& scales, std::uint64_t signs, std::byte* unit) {
  std::uint16_t bits[2 * kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const auto sign = static_cast<std::uint16_t>((signs >> lane & 1) << 15);
    bits[lane] = scales.d ^ sign;
    bits[kLanes + lane] = scales.minimum ^ sign;
  }
  std::memcpy(unit, bits, scales.has_minimum ? sizeof bits : sizeof bits / 2);
}

void limit_k_scales(WeightFormat format, std::byte* unit) {
  constexpr int kHead = 4 * kLanes;
  const int groups = 8;
  const int group_bytes = (format_unit(format).bytes - kHead) / groups;
  for (int g = 0; g < groups; ++g) {
    for (int i = 0; i < 2 * kLanes; ++i) unit[kHead + g * group_bytes + i] &= std::byte{kMostKScale};
  }
}

void fill_scalars(WeightFormat format, float deviation, std::int64_t bytes, std::byte* packed) {
  const int exponent = nearest_exponent(deviation / code_deviation(format));
  if (format == WeightFormat::kF32) {
    set_exponents<std::uint32_t>(packed, bytes, 0x7fffff, static_cast<std::uint32_t>(127 + exponent) << 23);
  } else if (format == WeightFormat::kBF16) {
    set_exponents<std::uint16_t>(packed, bytes, 0x7f, static_cast<std::uint16_t>((127 + exponent) << 7));
  } else {
    set_exponents<std::uint16_t>(packed, bytes, 0x3ff, static_cast<std::uint16_t>((15 + exponent) << 10));
  }
}

// Random signs and mantissas under a scale with a random sign for each lane.
void fill_fp8(FastRandom& random, float deviation, std::byte* packed, std::int64_t bytes) {
  const FormatUnit size = format_unit(WeightFormat::kFp8);
  const auto scale = static_cast<float>(deviation / code_deviation(WeightFormat::kFp8));
  for (std::byte* unit = packed; unit < packed + bytes; unit += size.bytes) {
    random_bytes(random, unit, size.bytes);
    set_exponents<std::uint8_t>(unit, size.bytes, 7, 7 << 3);
    const std::uint64_t signs = random.next();
    float scales[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) scales[lane] = (signs >> lane & 1) != 0 ? -scale : scale;
    std::memcpy(unit, scales, sizeof scales);
  }
}

}  // namespace

double FastRandom::uniform() {
  return (static_cast<double>(next() >> 11) + 0.5) * 0x1.0p-53;
}

float FastRandom::normal() {
  const double radius = std::sqrt(-2.0 * std::log(uniform()));
  return static_cast<float>(radius * std::cos(2.0 * std::numbers::pi * uniform()));
}

std::uint32_t FastRandom::below(std::uint32_t end) {
  return static_cast<std::uint32_t>((next() >> 32) * end >> 32);
}

std::uint64_t stream_seed(std::uint64_t seed, std::uint64_t number) {
  return FastRandom(FastRandom(seed).next() ^ number * 0xd1342543de82ef95u).next();
}

void fill_random(WeightFormat format, std::int64_t rows, std::int64_t cols, float deviation, std::uint64_t seed,
                 std::byte* packed) {
  CHECK(rows % kRowInterleave == 0);
  const std::int64_t bytes = packed_bytes(format, rows, cols);
  FastRandom random(seed);
  if (format == WeightFormat::kFp8) return fill_fp8(random, deviation, packed, bytes);
  if (!is_quantized(format)) {
    random_bytes(random, packed, bytes);
    return fill_scalars(format, deviation, bytes, packed);
  }
  const int unit_bytes = format_unit(format).bytes;
  const auto d = static_cast<float>(deviation / code_deviation(format));
  const Scales scales = make_scales(format, d);
  const bool k_scales = format == WeightFormat::kQ4_K || format == WeightFormat::kQ5_K;
  for (std::byte* unit = packed; unit < packed + bytes; unit += unit_bytes) {  // once over memory
    random_bytes(random, unit, unit_bytes);
    if (format == WeightFormat::kMxfp4) {
      std::memset(unit, 127 + nearest_exponent(d), kLanes);
      continue;
    }
    write_scales(scales, random.next(), unit);
    if (k_scales) limit_k_scales(format, unit);
  }
}

void pack_f32(std::span<const float> values, std::int64_t rows, std::int64_t cols, std::byte* packed) {
  const auto bytes = static_cast<std::size_t>(packed_bytes(WeightFormat::kF32, rows, cols));
  auto* out = reinterpret_cast<float*>(packed);
  std::memset(packed, 0, bytes);
  for (std::int64_t r = 0; r < rows; ++r) {
    float* lane = out + r / kRowInterleave * cols * kRowInterleave + r % kRowInterleave;
    for (std::int64_t c = 0; c < cols; ++c) lane[c * kRowInterleave] = values[static_cast<std::size_t>(r * cols + c)];
  }
}

}  // namespace foregate
