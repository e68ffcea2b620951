// Which overlap the exchanges of a step take, by what steps of about as many rows took before. The bytes are the same
// either way, so nothing but time depends on it. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/model/exchange_parts.h"
#include "engine/model/overlap_gain.h"

namespace foregate {

class OverlapChoice {
 public:
  // For a step of so many rows: kOff, or where it can run so at all, kChunks or kHalves. Steps without overlap come
  // first, unless steps of other sizes tell what they would take. A way that cannot gain 3 % though all that was waited
  // for were hidden is not tried; the others are, in turns with none; then the fastest is taken, an overlap only while
  // it gains 3 %, and another once in a while, since what runs beside may change.
  OverlapMode next(std::int64_t rows, bool chunks, bool halves);
  // `ran`: what the step came to, whatever was asked for: a small exchange in chunks is one message.
  void took(const StepSpent& step, OverlapMode ran);
  std::uint64_t times(std::int64_t rows, OverlapMode ran);  // how many were taken of steps of about so many rows
  // Steps that were asked to overlap to see what that takes, and such that were spared, since the last call.
  std::pair<std::uint64_t, std::uint64_t> take_trials();

 private:
  static constexpr std::size_t kTimes = 9;     // the median of the last so many counts
  static constexpr std::uint64_t kAgain = 64;  // every so many steps another way is tried
  struct Times {
    std::array<StepSpent, kTimes> last{};
    std::uint64_t count = 0;
    std::uint64_t asked = 0;
    bool spared = false;
    bool known() const { return count >= kTimes; }
    double median(double StepSpent::*what) const;  // of a row
    StepSpent middle() const;
  };
  struct Bucket {
    std::array<Times, 3> ways;
    std::uint64_t steps = 0;
    bool tried = false;                           // an overlap
    bool judged = false;                          // by its own steps without
    std::array<bool, 3> may{true, false, false};  // gain
  };
  Bucket& bucket(std::int64_t rows);  // 1, 2, 3-4, 5-8, ...
  Times* times_of(std::int64_t rows, OverlapMode way);
  void judge(Bucket& of, std::int64_t rows) const;

  std::vector<Bucket> buckets_;
  std::uint64_t trials_ = 0;
  std::uint64_t spared_ = 0;
};

}  // namespace foregate
