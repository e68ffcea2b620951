#include "engine/model/overlap_choice.h"

#include <algorithm>
#include <bit>

namespace foregate {
namespace {

constexpr OverlapMode kWays[] = {OverlapMode::kOff, OverlapMode::kChunks, OverlapMode::kHalves};
constexpr double kGain = 1.03;

}  // namespace

double OverlapChoice::Times::median() const {
  std::array<double, kTimes> sorted = last;
  std::sort(sorted.begin(), sorted.end());
  return sorted[kTimes / 2];
}

OverlapChoice::Bucket& OverlapChoice::bucket(std::int64_t rows) {
  const auto at =
      static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(rows, 1) - 1)));
  if (at >= buckets_.size()) buckets_.resize(at + 1);
  return buckets_[at];
}

OverlapMode OverlapChoice::next(std::int64_t rows) {
  Bucket& of = bucket(rows);
  const std::uint64_t step = of.steps++;
  for (std::size_t way = 0; way < ways_; ++way) {
    if (of.ways[way].count < kTimes) return kWays[step % ways_];
  }
  std::size_t best = 0;
  for (std::size_t way = 1; way < ways_; ++way) {
    const double gain = of.ways[0].median() / of.ways[way].median();
    if (gain >= kGain && (best == 0 || of.ways[way].median() < of.ways[best].median())) best = way;
  }
  if (step % kAgain != 0) return kWays[best];
  return kWays[(best + 1 + step / kAgain % (ways_ - 1)) % ways_];
}

void OverlapChoice::took(std::int64_t rows, OverlapMode way, TimeNs time) {
  for (std::size_t i = 0; i < ways_; ++i) {
    if (kWays[i] != way) continue;
    Times& times = bucket(rows).ways[i];
    times.last[times.count++ % kTimes] =
        static_cast<double>(time) / static_cast<double>(std::max<std::int64_t>(rows, 1));
  }
}

}  // namespace foregate
