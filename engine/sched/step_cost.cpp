#include "engine/sched/step_cost.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace foregate {
namespace {

constexpr double kNewest = 0.1;  // weight of the newest sample once there are some
constexpr double kLeastSeconds = 1e-9;

double mixed(double before, double now, std::int64_t samples) {
  const double weight = std::max(kNewest, 1.0 / static_cast<double>(samples));
  return before + weight * (now - before);
}

}  // namespace

void StepCost::add(std::int32_t rows, double seconds) {
  if (rows < 1 || seconds < 0) return;
  const auto power = static_cast<std::size_t>(std::bit_width(static_cast<std::uint32_t>(rows)) - 1);
  Point& point = points_[std::min(power, points_.size() - 1)];
  ++point.samples;
  ++samples_;
  point.rows = mixed(point.rows, rows, point.samples);
  point.seconds = mixed(point.seconds, seconds, point.samples);
}

double StepCost::seconds(std::int32_t rows) const {
  const double at = std::max(1, rows);
  Point below;  // the last measured size that is not above, and the most that one up to there takes
  for (const Point& point : points_) {
    if (point.samples == 0) continue;
    const Point here{point.rows, std::max(point.seconds, below.seconds), point.samples};
    if (here.rows > at) {
      if (below.samples == 0) return here.seconds;  // no less than a step of one row is known to take
      return below.seconds + (here.seconds - below.seconds) * (at - below.rows) / (here.rows - below.rows);
    }
    below = here;
  }
  return below.samples == 0 ? 0.0 : below.seconds * std::max(1.0, at / below.rows);
}

std::int32_t StepCost::rows_within(double seconds, std::int32_t most) const {
  std::int32_t low = 1;
  std::int32_t high = std::max(1, most);
  while (low < high) {
    const std::int32_t middle = low + (high - low + 1) / 2;
    if (this->seconds(middle) <= seconds) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

double StepCost::recompute_seconds(std::int32_t tokens, std::int32_t chunk) const {
  const std::int32_t whole = tokens / std::max(1, chunk);
  const std::int32_t rest = tokens % std::max(1, chunk);
  return whole * seconds(chunk) + (rest > 0 ? seconds(rest) : 0.0);
}

void CopyRate::add(std::int64_t bytes, double seconds) {
  if (bytes <= 0) return;
  const double rate = static_cast<double>(bytes) / std::max(seconds, kLeastSeconds);
  rate_ = rate_ ? *rate_ + kNewest * (rate - *rate_) : rate;
}

bool swap_is_cheaper(const StepCost& steps, const CopyRate& copies, std::int32_t tokens, std::int32_t chunk,
                     std::int64_t bytes) {
  if (!steps.known() || !copies.bytes_per_second()) return false;
  const double copy = 2.0 * static_cast<double>(bytes) / *copies.bytes_per_second();
  return copy < steps.recompute_seconds(tokens, chunk);
}

}  // namespace foregate
