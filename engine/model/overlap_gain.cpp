#include "engine/model/overlap_gain.h"

#include <algorithm>
#include <vector>

namespace foregate {

StraightLine fit_line(std::span<const XY> points) {
  double w = 0, wx = 0, wxx = 0, wy = 0, wxy = 0, least = 0, most = 0;
  for (const XY& point : points) {
    if (!(point.x > 0 && point.y > 0)) continue;
    least = w == 0 ? point.x : std::min(least, point.x);
    most = std::max(most, point.x);
    const double weight = 1 / (point.y * point.y);
    w += weight;
    wx += weight * point.x;
    wxx += weight * point.x * point.x;
    wy += weight * point.y;
    wxy += weight * point.x * point.y;
  }
  if (w == 0) return {};
  const StraightLine through_zero{0, wxy / wxx};
  if (most <= least) return through_zero;
  const double each = (w * wxy - wx * wy) / (w * wxx - wx * wx);
  if (each < 0) return {wy / w, 0};
  const double fixed = (wy - each * wx) / w;
  return fixed < 0 ? through_zero : StraightLine{fixed, each};
}

OverlapModel::OverlapModel(std::span<const StepSpent> known)
    : known_(known.size()), least_rows_(known.front().rows), most_rows_(known.front().rows) {
  std::vector<XY> work, wait;
  double rows = 0, bytes = 0;
  for (const StepSpent& step : known) {
    least_rows_ = std::min(least_rows_, step.rows);
    most_rows_ = std::max(most_rows_, step.rows);
    exchanges_ = std::max(exchanges_, step.exchanges);
    rows += step.rows;
    bytes += step.bytes;
    work.push_back({step.rows, step.total - step.waited});
    if (step.exchanges > 0) wait.push_back({step.bytes / step.exchanges, step.waited / step.exchanges});
  }
  bytes_of_row_ = rows > 0 ? bytes / rows : 0;
  work_ = fit_line(work);
  wait_ = fit_line(wait);
}

std::optional<StepSpent> OverlapModel::predict(double rows) const {
  if (known_ < 2 || rows < least_rows_ / 2 || rows > most_rows_ * 2) return std::nullopt;
  StepSpent step{.rows = rows, .exchanges = exchanges_, .bytes = bytes_of_row_ * rows};
  if (exchanges_ > 0) step.waited = exchanges_ * wait_.at(step.bytes / exchanges_);
  step.total = work_.at(rows) + step.waited;
  return step;
}

double OverlapModel::most_gain(OverlapMode way, const StepSpent& step) const {
  if (way == OverlapMode::kOff || step.waited <= 0) return 1;
  const double work = step.total - step.waited;
  const double twice = way == OverlapMode::kHalves ? std::min(work_.fixed, work) : 0;
  const double least = std::max(work + twice, step.total / 1000);
  return step.total / least;
}

}  // namespace foregate
