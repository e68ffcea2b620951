#include "engine/model/overlap_choice.h"

#include <algorithm>
#include <bit>
#include <iterator>

namespace foregate {
namespace {

constexpr OverlapMode kWays[] = {OverlapMode::kOff, OverlapMode::kChunks, OverlapMode::kHalves};
constexpr double kGain = 1.03;

}  // namespace

double OverlapChoice::Times::median(double StepSpent::*what) const {
  std::array<double, kTimes> sorted{};
  for (std::size_t i = 0; i < kTimes; ++i) sorted[i] = last[i].*what / last[i].rows;
  std::sort(sorted.begin(), sorted.end());
  return sorted[kTimes / 2];
}

// A step of as many rows as these had on average.
StepSpent OverlapChoice::Times::middle() const {
  StepSpent step;
  for (const StepSpent& one : last) {
    step.rows += one.rows / kTimes;
    step.exchanges += one.exchanges / kTimes;
    step.bytes += one.bytes / kTimes;
  }
  step.total = median(&StepSpent::total) * step.rows;
  step.waited = std::min(median(&StepSpent::waited) * step.rows, step.total);
  return step;
}

OverlapChoice::Bucket& OverlapChoice::bucket(std::int64_t rows) {
  const auto at =
      static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(rows, 1) - 1)));
  if (at >= buckets_.size()) buckets_.resize(at + 1);
  return buckets_[at];
}

// Which ways may gain: none where nothing is known yet.
void OverlapChoice::judge(Bucket& of, std::int64_t rows) const {
  std::vector<StepSpent> known;
  for (const Bucket& each : buckets_) {
    if (each.ways[0].known()) known.push_back(each.ways[0].middle());
  }
  if (known.empty()) return;
  const OverlapModel model(known);
  of.judged = of.ways[0].known();
  const auto here = of.judged ? of.ways[0].middle() : model.predict(static_cast<double>(rows));
  for (std::size_t way = 1; way < 3; ++way) of.may[way] = here && model.most_gain(kWays[way], *here) >= kGain;
}

// Each way is asked for so often at first, and no more where it comes to another.
OverlapMode OverlapChoice::next(std::int64_t rows, bool chunks, bool halves) {
  Bucket& of = bucket(rows);
  const std::uint64_t step = of.steps++;
  if (!of.judged || step % kAgain == 0) judge(of, rows);
  const bool can[] = {true, chunks, halves};
  const bool may[] = {true, of.may[1] && chunks, of.may[2] && halves};
  if (!of.tried && (may[1] || may[2])) {
    of.tried = true;
    of.ways[0].asked = 0;  // in turns, as what runs beside may change
  }
  std::size_t least = 0;
  std::size_t best = 0;
  for (std::size_t way = 1; way < 3; ++way) {
    Times& times = of.ways[way];
    if (!may[way]) {
      const bool spared = of.judged && can[way] && times.asked == 0 && !times.spared;
      if (spared) spared_ += kTimes;
      times.spared |= spared;
      continue;
    }
    if (times.asked < of.ways[least].asked) least = way;
    if (!of.ways[0].known() || !times.known()) continue;
    const double took = times.median(&StepSpent::total);
    const bool gains = of.ways[0].median(&StepSpent::total) >= kGain * took;
    if (gains && (best == 0 || took < of.ways[best].median(&StepSpent::total))) best = way;
  }
  std::size_t way = best;
  if (of.ways[least].asked < kTimes) {
    ++of.ways[way = least].asked;
    trials_ += way > 0 ? 1 : 0;
  } else if (step % kAgain == 0) {
    way = (best + 1 + step / kAgain % 2) % 3;
    if (!may[way]) way = best;
    trials_ += way > 0 && way != best ? 1 : 0;
  }
  return kWays[way];
}

void OverlapChoice::took(const StepSpent& step, OverlapMode ran) {
  Times* const times = times_of(static_cast<std::int64_t>(step.rows), ran);
  if (times != nullptr && step.rows > 0) times->last[times->count++ % kTimes] = step;
}

std::uint64_t OverlapChoice::times(std::int64_t rows, OverlapMode ran) {
  const Times* const times = times_of(rows, ran);
  return times == nullptr ? 0 : times->count;
}

std::pair<std::uint64_t, std::uint64_t> OverlapChoice::take_trials() {
  return {std::exchange(trials_, 0), std::exchange(spared_, 0)};
}

OverlapChoice::Times* OverlapChoice::times_of(std::int64_t rows, OverlapMode way) {
  const auto* const at = std::find(std::begin(kWays), std::end(kWays), way);
  return at == std::end(kWays) ? nullptr : &bucket(rows).ways[static_cast<std::size_t>(at - std::begin(kWays))];
}

}  // namespace foregate
