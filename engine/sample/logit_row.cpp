#include "engine/sample/logit_row.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

namespace foregate {
namespace {

constexpr std::size_t kLanes = 16;  // independent chains of one loop

float block_maximum(const float* x, std::size_t n) {
  float best[kLanes];
  std::fill_n(best, kLanes, -std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) best[j] = x[i + j] > best[j] ? x[i + j] : best[j];
  }
  for (; i < n; ++i) best[0] = x[i] > best[0] ? x[i] : best[0];
  for (std::size_t j = 1; j < kLanes; ++j) best[0] = best[j] > best[0] ? best[j] : best[0];
  return best[0];
}

// exp(y) for y <= 0: 2^n times a polynomial in the rest, after Cody and Waite.
float exp_of(float y) {
  constexpr float kLog2e = 1.44269504f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
  constexpr float kLeast = -87.0f;
  const float bounded = y < kLeast ? kLeast : y;
  const float shifted = bounded * kLog2e + kRound;
  const float n = shifted - kRound;
  const float r = (bounded - n * kLn2High) - n * kLn2Low;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const auto power = std::bit_cast<float>((std::bit_cast<std::int32_t>(shifted) << 23) + 0x3f800000);
  const float value = p * power;
  return y < kLeast ? 0.0f : value;
}

double block_weights(const float* x, std::size_t n, float highest, float scale, float* weights) {
  for (std::size_t i = 0; i < n; ++i) weights[i] = exp_of((x[i] - highest) * scale);
  double sums[4] = {};
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t j = 0; j < 4; ++j) sums[j] += static_cast<double>(weights[i + j]);
  }
  for (; i < n; ++i) sums[0] += static_cast<double>(weights[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

std::size_t block_size(std::size_t values, std::size_t block) {
  return std::min(kLogitBlock, values - block * kLogitBlock);
}

}  // namespace

bool all_finite(std::span<const float> logits) {
  std::uint32_t worst[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) {
      const std::uint32_t exponent = std::bit_cast<std::uint32_t>(logits[i + j]) & 0x7f800000u;
      worst[j] |= exponent == 0x7f800000u ? 1u : 0u;
    }
  }
  for (; i < logits.size(); ++i) {
    worst[0] |= (std::bit_cast<std::uint32_t>(logits[i]) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
  }
  return std::all_of(std::begin(worst), std::end(worst), [](std::uint32_t bad) { return bad == 0; });
}

void block_maxima(std::span<const float> logits, std::vector<float>& maxima) {
  maxima.resize((logits.size() + kLogitBlock - 1) / kLogitBlock);
  for (std::size_t b = 0; b < maxima.size(); ++b) {
    maxima[b] = block_maximum(logits.data() + b * kLogitBlock, block_size(logits.size(), b));
  }
}

std::size_t first_greatest(std::span<const float> logits, std::span<const float> maxima) {
  const auto best = std::max_element(maxima.begin(), maxima.end());
  auto at = static_cast<std::size_t>(best - maxima.begin()) * kLogitBlock;
  while (logits[at] != *best) ++at;
  return at;
}

void at_least(std::span<const float> logits, std::span<const float> maxima, float least,
              std::vector<std::int32_t>& indices) {
  indices.clear();
  for (std::size_t b = 0; b < maxima.size(); ++b) {
    if (maxima[b] < least) continue;
    const std::size_t first = b * kLogitBlock;
    for (std::size_t i = first; i < first + block_size(logits.size(), b); ++i) {
      if (logits[i] >= least) indices.push_back(static_cast<std::int32_t>(i));
    }
  }
}

// The k-th greatest block maximum has k values at or above it, so no smaller value is among the k greatest.
void greatest_with_ties(std::span<const float> logits, std::span<const float> maxima, std::size_t k,
                        std::vector<std::int32_t>& indices) {
  const auto kth = [k](std::vector<float>& values) {
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(values.begin(), at, values.end(), std::greater<>());
    return *at;
  };
  float least = -std::numeric_limits<float>::infinity();
  std::vector<float> values;
  if (k <= maxima.size()) {
    values.assign(maxima.begin(), maxima.end());
    least = kth(values);
  }
  at_least(logits, maxima, least, indices);
  if (k >= indices.size()) return;
  values.clear();
  for (const std::int32_t i : indices) values.push_back(logits[static_cast<std::size_t>(i)]);
  const float smallest = kth(values);
  std::erase_if(indices, [&](std::int32_t i) { return logits[static_cast<std::size_t>(i)] < smallest; });
}

void exp_weights(std::span<const float> logits, float highest, float scale, std::vector<float>& weights,
                 std::vector<double>& sums) {
  weights.resize(logits.size());
  sums.resize((logits.size() + kLogitBlock - 1) / kLogitBlock);
  for (std::size_t b = 0; b < sums.size(); ++b) {
    const std::size_t first = b * kLogitBlock;
    sums[b] =
        block_weights(logits.data() + first, block_size(logits.size(), b), highest, scale, weights.data() + first);
  }
}

}  // namespace foregate
