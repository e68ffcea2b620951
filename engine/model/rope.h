// Rotary position frequencies as data: default, linear, llama3, yarn (arXiv 2309.00071), or a divisor per pair.
// Pure functions; the rotation itself is an op of the table.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace foregate {

enum class RopeScaling { kNone, kLinear, kLlama3, kYarn, kDivisors };

struct RopeConfig {
  double theta = 10000.0;
  std::int32_t rotary_dim = 0;  // even
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;
  double original_positions = 0.0;   // llama3, yarn
  double low_freq_factor = 1.0;      // llama3
  double high_freq_factor = 4.0;     // llama3
  double beta_fast = 32.0;           // yarn
  double beta_slow = 1.0;            // yarn
  double magnitude = 1.0;            // multiplies cos and sin (yarn's attention factor)
  bool truncate = true;              // yarn: whole-number ramp ends
  std::vector<float> divisors = {};  // divisors: one per pair
};

// How yarn scales attention when nothing else is said.
double yarn_magnitude(double factor, double scale);

// rotary_dim / 2 angles per position.
std::vector<float> rope_frequencies(const RopeConfig& config);

// cos and sin of every row: [positions.size(), frequencies.size()] each. A row's values depend on
// its position alone.
void rope_rows(std::span<const float> frequencies, double magnitude, std::span<const std::int32_t> positions,
               float* cos, float* sin);

}  // namespace foregate
