#include "tools/load/load_draws.h"

#include <cmath>
#include <numbers>

#include "engine/base/rng.h"

namespace foregate {

double LoadDraws::uniform() {
  return (static_cast<double>(philox4x32(seed_, number_++, stream_)[0]) + 0.5) / 4294967296.0;
}

std::uint32_t LoadDraws::below(std::uint32_t end) {
  return static_cast<std::uint32_t>(uniform() * end);
}

double LoadDraws::normal() {
  const double radius = std::sqrt(-2 * std::log(uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

// Marsaglia and Tsang, "A simple method for generating gamma variables".
double LoadDraws::gamma(double shape) {
  if (shape < 1) {
    const double up = gamma(shape + 1);
    return up * std::pow(uniform(), 1 / shape);
  }
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = normal();
    const double root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

}  // namespace foregate
