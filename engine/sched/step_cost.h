// What a step of so many rows takes, learned from the steps that ran: an average per power of two of rows, the newer
// ones weighing more. From it come the prompt rows that a step may have beside decode rows when tokens are to follow
// each other within a time, and whether computing a sequence again is cheaper than copying its blocks. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace foregate {

class StepCost {
 public:
  void add(std::int32_t rows, double seconds);
  bool known() const { return samples_ > 0; }
  // Seconds of a step of `rows` (> 0): between measured sizes on the line through them, beyond them in proportion.
  // Never less for more rows. 0 while nothing is known.
  double seconds(std::int32_t rows) const;
  // The most rows, up to `most`, whose step takes no longer; at least 1.
  std::int32_t rows_within(double seconds, std::int32_t most) const;
  // To compute `tokens` positions in steps of `chunk`.
  double recompute_seconds(std::int32_t tokens, std::int32_t chunk) const;

 private:
  struct Point {
    double rows = 0;
    double seconds = 0;
    std::int64_t samples = 0;
  };
  std::array<Point, 24> points_;  // by the power of two of the rows
  std::int64_t samples_ = 0;
};

// Bytes a second of copies between KV blocks and the host, the newer ones weighing more.
class CopyRate {
 public:
  void add(std::int64_t bytes, double seconds);
  std::optional<double> bytes_per_second() const { return rate_; }

 private:
  std::optional<double> rate_;
};

// Whether a sequence of `tokens` positions in `bytes` of blocks is better copied out and back than computed again.
// False while either cost is unknown.
bool swap_is_cheaper(const StepCost& steps, const CopyRate& copies, std::int32_t tokens, std::int32_t chunk,
                     std::int64_t bytes);

}  // namespace foregate
