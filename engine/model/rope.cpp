#include "engine/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace foregate {
namespace {

// Long waves are slowed by `factor`, short ones kept, those between blended (Llama 3.1).
double llama3_frequency(const RopeConfig& config, double frequency) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  if (wavelength > config.original_positions / config.low_freq_factor) return frequency / config.factor;
  if (wavelength < config.original_positions / config.high_freq_factor) return frequency;
  const double smooth = (config.original_positions / wavelength - config.low_freq_factor) /
                        (config.high_freq_factor - config.low_freq_factor);
  return (1.0 - smooth) * frequency / config.factor + smooth * frequency;
}

// The pair index whose wave makes `turns` turns over the original context.
double yarn_pair(const RopeConfig& config, double turns) {
  return config.rotary_dim * std::log(config.original_positions / (turns * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(config.theta));
}

double yarn_frequency(const RopeConfig& config, double frequency, int pair) {
  double low = yarn_pair(config, config.beta_fast);
  double high = yarn_pair(config, config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, config.rotary_dim - 1.0);
  if (low == high) high += 0.001;
  const double slowed = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return frequency / config.factor * slowed + frequency * (1.0 - slowed);
}

}  // namespace

double yarn_magnitude(double factor, double scale) {
  return factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
}

std::vector<float> rope_frequencies(const RopeConfig& config) {
  std::vector<float> frequencies;
  for (int pair = 0; pair < config.rotary_dim / 2; ++pair) {
    double frequency = 1.0 / std::pow(config.theta, 2.0 * pair / config.rotary_dim);
    switch (config.scaling) {
      case RopeScaling::kNone: break;
      case RopeScaling::kLinear: frequency /= config.factor; break;
      case RopeScaling::kLlama3: frequency = llama3_frequency(config, frequency); break;
      case RopeScaling::kYarn: frequency = yarn_frequency(config, frequency, pair); break;
      case RopeScaling::kDivisors: frequency /= config.divisors[static_cast<std::size_t>(pair)]; break;
    }
    frequencies.push_back(static_cast<float>(frequency));
  }
  return frequencies;
}

void rope_rows(std::span<const float> frequencies, double magnitude, std::span<const std::int32_t> positions,
               float* cos, float* sin) {
  for (const std::int32_t position : positions) {
    for (const float frequency : frequencies) {
      // The angle is rounded to f32 first, as the reference classes do.
      const float angle = static_cast<float>(position) * frequency;
      *cos++ = static_cast<float>(std::cos(static_cast<double>(angle)) * magnitude);
      *sin++ = static_cast<float>(std::sin(static_cast<double>(angle)) * magnitude);
    }
  }
}

}  // namespace foregate
