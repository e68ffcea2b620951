// Which overlap the exchanges of a step take, by what steps of about as many rows took before. The bytes are the same
// either way, so nothing but time depends on it. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/base/clock.h"
#include "engine/model/exchange_parts.h"

namespace foregate {

class OverlapChoice {
 public:
  // For a step of so many rows: kOff, kChunks, or where it can run in `halves` at all, kHalves. Each way in turns at
  // first; then the fastest, an overlap only while it gains 3 %, and another once in a while, since what runs beside
  // may change.
  OverlapMode next(std::int64_t rows, bool halves);
  // `ran`: what the step came to, whatever was asked for: a small exchange in chunks is one message.
  void took(std::int64_t rows, OverlapMode ran, TimeNs time);
  std::uint64_t times(std::int64_t rows, OverlapMode ran);  // how many were taken of steps of about so many rows

 private:
  static constexpr std::size_t kTimes = 9;     // the median of the last so many counts
  static constexpr std::uint64_t kAgain = 64;  // every so many steps another way is tried
  struct Times {
    std::array<double, kTimes> last{};  // of a row
    std::uint64_t count = 0;
    std::uint64_t asked = 0;
    bool known() const { return count >= kTimes; }
    double median() const;
  };
  struct Bucket {
    std::array<Times, 3> ways;
    std::uint64_t steps = 0;
  };
  Bucket& bucket(std::int64_t rows);  // 1, 2, 3-4, 5-8, ...
  Times* times_of(std::int64_t rows, OverlapMode way);

  std::vector<Bucket> buckets_;
};

}  // namespace foregate
