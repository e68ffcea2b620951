#include "kernels/api/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/api/blocks.h"
#include "kernels/api/check.h"

// kernels/cpu/quantize.inl does the same operations with rows as lanes; who changes one changes both.
namespace foregate {
namespace {

constexpr std::uint16_t kNanHalf = 0x7e00;

// NaN gives low.
int rounded(float value, int low, int high) {
  if (!(value > static_cast<float>(low))) return low;
  return static_cast<int>(std::nearbyint(std::min(value, static_cast<float>(high))));
}

bool all_finite(const float* x, int count) {
  return std::all_of(x, x + count, [](float v) { return std::isfinite(v); });
}

// The value of largest magnitude, with its sign.
float extreme(const float* x, int count) {
  return *std::max_element(x, x + count, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
}

void put_half(std::uint8_t* to, std::uint16_t bits) {
  std::memcpy(to, &bits, 2);
}

float half_value(float value) {
  return widen_f16(narrow_f16(value));
}

float inverse(float value) {
  return value != 0 && std::isfinite(value) ? 1.0f / value : 0.0f;
}

// w = scale * code, low <= code <= high: tries scales that put the extreme value at a few places near `low`.
float search_scale(const float* x, int count, int low, int high) {
  const float most = extreme(x, count);
  if (most == 0) return 0;
  float best_scale = most / static_cast<float>(low);
  float best_gain = -1;
  for (int step = -9; step <= 9; ++step) {
    const float factor = (static_cast<float>(low) + 0.1f * static_cast<float>(step)) / most;
    float xl = 0;
    float ll = 0;
    for (int i = 0; i < count; ++i) {
      const float l = static_cast<float>(rounded(x[i] * factor, low, high));
      xl += x[i] * l;
      ll += l * l;
    }
    if (ll > 0 && xl * xl / ll > best_gain) {
      best_gain = xl * xl / ll;
      best_scale = xl / ll;
    }
  }
  return best_scale;
}

// w = scale * code + minimum, 0 <= code <= high, minimum <= 0.
struct Affine {
  float scale = 0;
  float minimum = 0;
};

// Least squares for given codes.
Affine fit(const float* x, const int* codes, int count) {
  double l1 = 0, l2 = 0, x1 = 0, xl = 0;
  for (int i = 0; i < count; ++i) {
    l1 += codes[i];
    l2 += static_cast<double>(codes[i]) * codes[i];
    x1 += x[i];
    xl += static_cast<double>(x[i]) * codes[i];
  }
  const double determinant = count * l2 - l1 * l1;
  if (determinant <= 0) return {};
  const double minimum = (l2 * x1 - l1 * xl) / determinant;
  if (minimum > 0) return {static_cast<float>(l2 > 0 ? xl / l2 : 0), 0};
  return {static_cast<float>((count * xl - l1 * x1) / determinant), static_cast<float>(minimum)};
}

double squared_error(const float* x, int count, Affine a, int high) {
  const float factor = inverse(a.scale);
  double error = 0;
  for (int i = 0; i < count; ++i) {
    const double l = rounded((x[i] - a.minimum) * factor, 0, high);
    const double difference = a.scale * l + a.minimum - x[i];
    error += difference * difference;
  }
  return error;
}

Affine search_affine(const float* x, int count, int high) {
  const float low_value = std::min(0.0f, *std::min_element(x, x + count));
  const float span = *std::max_element(x, x + count) - low_value;
  if (span <= 0) return {0, low_value};
  Affine best{span / static_cast<float>(high), low_value};
  double best_error = squared_error(x, count, best, high);
  int codes[kQuantGroup];
  for (int step = -10; step <= 10; ++step) {
    const float factor = (static_cast<float>(high) + 0.1f * static_cast<float>(step)) / span;
    for (int i = 0; i < count; ++i) codes[i] = rounded((x[i] - low_value) * factor, 0, high);
    const Affine candidate = fit(x, codes, count);
    if (!(candidate.scale > 0)) continue;
    const double error = squared_error(x, count, candidate, high);
    if (error < best_error) {
      best_error = error;
      best = candidate;
    }
  }
  return best;
}

// Element j in the low, element j + 16 in the high half of byte j.
void put_nibbles(const int* codes, std::uint8_t* to) {
  for (int j = 0; j < 16; ++j) to[j] = static_cast<std::uint8_t>((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

void quantize_q8_0(const float* x, std::uint8_t* block) {
  const float d = half_value(std::fabs(extreme(x, 32)) / 127.0f);
  put_half(block, narrow_f16(d));
  for (int j = 0; j < 32; ++j) block[2 + j] = static_cast<std::uint8_t>(rounded(x[j] * inverse(d), -127, 127));
}

void quantize_q4_0(const float* x, std::uint8_t* block) {
  const float d = half_value(search_scale(x, 32, -8, 7));
  put_half(block, narrow_f16(d));
  int codes[32];
  for (int j = 0; j < 32; ++j) codes[j] = rounded(x[j] * inverse(d), -8, 7) + 8;
  put_nibbles(codes, block + 2);
}

void quantize_q5_0(const float* x, std::uint8_t* block) {
  const float d = half_value(search_scale(x, 32, -16, 15));
  put_half(block, narrow_f16(d));
  int codes[32];
  std::uint32_t high = 0;
  for (int j = 0; j < 32; ++j) {
    codes[j] = rounded(x[j] * inverse(d), -16, 15) + 16;
    high |= static_cast<std::uint32_t>(codes[j] >> 4) << j;
  }
  std::memcpy(block + 2, &high, 4);
  put_nibbles(codes, block + 6);
}

void quantize_q4_1(const float* x, std::uint8_t* block) {
  // Unlike in the k-quants the minimum may be positive.
  const float low = *std::min_element(x, x + 32);
  float shifted[32];
  for (int j = 0; j < 32; ++j) shifted[j] = x[j] - low;
  const Affine a = search_affine(shifted, 32, 15);
  const float d = half_value(a.scale);
  const float m = half_value(a.minimum + low);
  put_half(block, narrow_f16(d));
  put_half(block + 2, narrow_f16(m));
  int codes[32];
  for (int j = 0; j < 32; ++j) codes[j] = rounded((x[j] - m) * inverse(d), 0, 15);
  put_nibbles(codes, block + 4);
}

void quantize_mxfp4(const float* x, std::uint8_t* block) {
  constexpr float kValues[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const float most = std::fabs(extreme(x, 32));
  // The shared exponent of the OCP MX specification: that of the largest value, less E2M1's own largest, 2.
  const int exponent = most > 0 ? std::ilogb(most) - 2 : -127;
  block[0] = static_cast<std::uint8_t>(std::clamp(exponent + 127, 0, 254));
  const float scale = std::ldexp(1.0f, block[0] - 127);
  int codes[32];
  for (int j = 0; j < 32; ++j) {
    const float magnitude = std::fabs(x[j]) / scale;
    int best = 0;
    for (int code = 1; code < 8; ++code) {
      if (std::fabs(kValues[code] - magnitude) < std::fabs(kValues[best] - magnitude)) best = code;
    }
    codes[j] = best | (x[j] < 0 ? 8 : 0);
  }
  put_nibbles(codes, block + 1);
}

// Eight pairs of 6 bits into twelve bytes, as scale_and_min() of blocks.cpp reads them.
void put_scales_and_mins(const int* scales, const int* mins, std::uint8_t* to) {
  for (int j = 0; j < 4; ++j) {
    to[j] = static_cast<std::uint8_t>(scales[j] | scales[j + 4] >> 4 << 6);
    to[j + 4] = static_cast<std::uint8_t>(mins[j] | mins[j + 4] >> 4 << 6);
    to[j + 8] = static_cast<std::uint8_t>((scales[j + 4] & 15) | (mins[j + 4] & 15) << 4);
  }
}

// q4_k and q5_k.
void quantize_k45(const float* x, bool five, std::uint8_t* block) {
  const int high = five ? 31 : 15;
  Affine fits[8];
  float most_scale = 0;
  float most_minimum = 0;
  for (int g = 0; g < 8; ++g) {
    fits[g] = search_affine(x + 32 * g, 32, high);
    most_scale = std::max(most_scale, fits[g].scale);
    most_minimum = std::max(most_minimum, -fits[g].minimum);
  }
  const float d = half_value(most_scale / 63.0f);
  const float dmin = half_value(most_minimum / 63.0f);
  put_half(block, narrow_f16(d));
  put_half(block + 2, narrow_f16(dmin));
  int scales[8];
  int mins[8];
  std::uint8_t* high_bits = block + 16;
  std::uint8_t* low_bits = block + (five ? 48 : 16);
  std::memset(high_bits, 0, static_cast<std::size_t>(five ? 32 + 128 : 128));
  for (int g = 0; g < 8; ++g) {
    scales[g] = rounded(fits[g].scale * inverse(d), 0, 63);
    mins[g] = rounded(-fits[g].minimum * inverse(dmin), 0, 63);
    const float scale = d * static_cast<float>(scales[g]);
    const float minimum = dmin * static_cast<float>(mins[g]);
    for (int j = 0; j < 32; ++j) {
      const int code = rounded((x[32 * g + j] + minimum) * inverse(scale), 0, high);
      low_bits[g / 2 * 32 + j] |= static_cast<std::uint8_t>((code & 15) << g % 2 * 4);
      if (five) high_bits[j] |= static_cast<std::uint8_t>(code >> 4 << g);
    }
  }
  put_scales_and_mins(scales, mins, block + 4);
}

void quantize_q6_k(const float* x, std::uint8_t* block) {
  float scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = search_scale(x + 16 * g, 16, -32, 31);
  const float d = half_value(extreme(scales, 16) / -128.0f);
  std::memset(block, 0, 192);
  put_half(block + 208, narrow_f16(d));
  for (int g = 0; g < 16; ++g) {
    const int scale = rounded(scales[g] * inverse(d), -128, 127);
    block[192 + g] = static_cast<std::uint8_t>(scale);
    const float factor = inverse(d * static_cast<float>(scale));
    for (int i = 0; i < 16; ++i) {
      const int code = rounded(x[16 * g + i] * factor, -32, 31) + 32;
      const int j = 16 * g + i;  // column: half, part of the half, place
      const int part = j / 32 % 4;
      block[j / 128 * 64 + part % 2 * 32 + j % 32] |= static_cast<std::uint8_t>((code & 15) << part / 2 * 4);
      block[128 + j / 128 * 32 + j % 32] |= static_cast<std::uint8_t>(code >> 4 << 2 * part);
    }
  }
}

// The largest magnitude becomes 448, the largest of E4M3.
void quantize_fp8(const float* x, std::uint8_t* block) {
  const float scale = std::fabs(extreme(x, 128)) / 448.0f;
  std::memcpy(block, &scale, sizeof scale);
  for (int j = 0; j < 128; ++j) block[4 + j] = narrow_f8(scale > 0 ? x[j] / scale : 0.0f);
}

void quantize_block(DType type, const float* x, std::uint8_t* block) {
  switch (type) {
    case DType::kQ8_0: return quantize_q8_0(x, block);
    case DType::kQ4_0: return quantize_q4_0(x, block);
    case DType::kQ4_1: return quantize_q4_1(x, block);
    case DType::kQ5_0: return quantize_q5_0(x, block);
    case DType::kQ4_K: return quantize_k45(x, false, block);
    case DType::kQ5_K: return quantize_k45(x, true, block);
    case DType::kQ6_K: return quantize_q6_k(x, block);
    case DType::kMxfp4: return quantize_mxfp4(x, block);
    case DType::kFp8: return quantize_fp8(x, block);
    default: CHECK(!"a block type");
  }
}

// A block that dequantizes to NaN; mxfp4 has no NaN here and takes its largest scale.
void poison_block(DType type, std::uint8_t* block) {
  std::memset(block, 0xff, static_cast<std::size_t>(dtype_block(type).bytes));
  if (type == DType::kFp8) {
    std::memset(block + 4, 0x38, 128);  // ones under a scale of NaN
    return;
  }
  if (type == DType::kQ6_K) put_half(block + 208, kNanHalf);
  if (type != DType::kQ6_K && type != DType::kMxfp4) put_half(block, kNanHalf);
}

}  // namespace

void quantize_row(DType type, const float* x, std::int64_t cols, std::byte* row) {
  const DTypeBlock block = dtype_block(type);
  CHECK(block.elements > 1 && cols % block.elements == 0);
  std::uint8_t* to = reinterpret_cast<std::uint8_t*>(row);
  for (std::int64_t c = 0; c < cols; c += block.elements, to += block.bytes) {
    if (all_finite(x + c, block.elements)) {
      quantize_block(type, x + c, to);
    } else {
      poison_block(type, to);
    }
  }
}

}  // namespace foregate
