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
  explicit OverlapChoice(bool halves) : ways_(halves ? 3 : 2) {}  // whether a step can run in two halves at all
  // For a step of so many rows: kOff, kChunks or kHalves. Each way in turns at first; then the fastest, an overlap only
  // while it gains 3 %, and another once in a while, since what runs beside may change.
  OverlapMode next(std::int64_t rows);
  void took(std::int64_t rows, OverlapMode way, TimeNs time);

 private:
  static constexpr std::size_t kTimes = 9;     // the median of the last so many counts
  static constexpr std::uint64_t kAgain = 64;  // every so many steps another way is tried
  struct Times {
    std::array<double, kTimes> last{};  // of a row
    std::uint64_t count = 0;
    double median() const;
  };
  struct Bucket {
    std::array<Times, 3> ways;
    std::uint64_t steps = 0;
  };
  Bucket& bucket(std::int64_t rows);  // 1, 2, 3-4, 5-8, ...

  std::size_t ways_;
  std::vector<Bucket> buckets_;
};

}  // namespace foregate
