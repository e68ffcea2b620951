// Time seam. Monotonic time decides everything; wall time is for log stamps and `created` only.
#pragma once

#include <cstdint>

namespace foregate {

using TimeNs = std::int64_t;  // monotonic nanoseconds

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimeNs now() const = 0;
  virtual std::int64_t wall_seconds() const = 0;  // Unix time
};

// The machine's clock. Tests pass their own Clock instead.
const Clock& system_clock();

inline double seconds_between(TimeNs from, TimeNs to) {
  return static_cast<double>(to - from) * 1e-9;
}

}  // namespace foregate
