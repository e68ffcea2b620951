#include "engine/model/overlap_choice.h"

#include <algorithm>
#include <bit>
#include <iterator>

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

// Each way is asked for so often at first, and no more where it comes to another.
OverlapMode OverlapChoice::next(std::int64_t rows, bool halves) {
  Bucket& of = bucket(rows);
  const std::size_t ways = halves ? 3 : 2;
  const std::uint64_t step = of.steps++;
  const auto least = std::min_element(of.ways.begin(), of.ways.begin() + static_cast<std::ptrdiff_t>(ways),
                                      [](const Times& a, const Times& b) { return a.asked < b.asked; });
  if (least->asked < kTimes) {
    ++least->asked;
    return kWays[least - of.ways.begin()];
  }
  std::size_t best = 0;
  for (std::size_t way = 1; way < ways; ++way) {
    if (!of.ways[0].known() || !of.ways[way].known()) continue;
    const double gain = of.ways[0].median() / of.ways[way].median();
    if (gain >= kGain && (best == 0 || of.ways[way].median() < of.ways[best].median())) best = way;
  }
  if (step % kAgain != 0) return kWays[best];
  return kWays[(best + 1 + step / kAgain % (ways - 1)) % ways];
}

void OverlapChoice::took(std::int64_t rows, OverlapMode ran, TimeNs time) {
  Times* const times = times_of(rows, ran);
  if (times == nullptr) return;
  times->last[times->count++ % kTimes] =
      static_cast<double>(time) / static_cast<double>(std::max<std::int64_t>(rows, 1));
}

std::uint64_t OverlapChoice::times(std::int64_t rows, OverlapMode ran) {
  const Times* const times = times_of(rows, ran);
  return times == nullptr ? 0 : times->count;
}

OverlapChoice::Times* OverlapChoice::times_of(std::int64_t rows, OverlapMode way) {
  const auto* const at = std::find(std::begin(kWays), std::end(kWays), way);
  return at == std::end(kWays) ? nullptr : &bucket(rows).ways[static_cast<std::size_t>(at - std::begin(kWays))];
}

}  // namespace foregate
