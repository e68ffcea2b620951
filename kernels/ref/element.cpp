#include "kernels/ref/element.h"

#include <algorithm>
#include <cmath>

namespace foregate {

float read_element(const void* data, DType type, std::int64_t index) {
  if (type == DType::kF32) return static_cast<const float*>(data)[index];
  if (type == DType::kI8) return static_cast<const std::int8_t*>(data)[index];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[index];
  return type == DType::kF16 ? widen_f16(bits) : widen_bf16(bits);
}

void write_element(void* data, DType type, std::int64_t index, float value) {
  if (type == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<std::uint16_t*>(data)[index] = type == DType::kF16 ? narrow_f16(value) : narrow_bf16(value);
  }
}

std::int64_t packed_index(std::int64_t row, std::int64_t col, std::int64_t cols) {
  return (row / kRowInterleave * cols + col) * kRowInterleave + row % kRowInterleave;
}

std::vector<float> weight_row(const PackedWeight& weight, std::int64_t row) {
  std::vector<float> values(static_cast<std::size_t>(weight.cols));
  unpack_row(weight, row, values.data());
  return values;
}

std::vector<double> activation_row(WeightFormat format, const float* x, std::int64_t cols) {
  std::vector<double> values(x, x + cols);
  if (!is_quantized(format)) return values;
  for (std::int64_t first = 0; first < cols; first += kQuantGroup) {
    float amax = 0;
    bool finite = true;
    for (std::int64_t c = first; c < first + kQuantGroup; ++c) {
      amax = std::max(amax, std::fabs(x[c]));
      finite = finite && std::isfinite(x[c]);
    }
    const float scale = finite ? amax / 127.0f : NAN;
    const float inverse = std::isfinite(127.0f / amax) ? 127.0f / amax : 0.0f;
    for (std::int64_t c = first; c < first + kQuantGroup; ++c) {
      values[c] = static_cast<double>(scale) * (finite ? std::nearbyint(x[c] * inverse) : 0.0f);
    }
  }
  return values;
}

}  // namespace foregate
