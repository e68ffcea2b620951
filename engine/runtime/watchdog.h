// Tells a stall from being busy: the engine thread marks the start of each turn of its loop and the
// time it goes to wait; any thread asks whether the turn now under way is older than the limit.
#pragma once

#include <atomic>

#include "engine/base/clock.h"

namespace foregate {

class Watchdog {
 public:
  explicit Watchdog(double limit_seconds) : limit_ns_(static_cast<TimeNs>(limit_seconds * 1e9)) {}
  void turn_begins(TimeNs now) { since_.store(now, std::memory_order_relaxed); }
  void waits() { since_.store(kWaiting, std::memory_order_relaxed); }
  bool stalled(TimeNs now) const {
    const TimeNs since = since_.load(std::memory_order_relaxed);
    return since != kWaiting && now - since > limit_ns_;
  }

 private:
  static constexpr TimeNs kWaiting = -1;
  const TimeNs limit_ns_;
  std::atomic<TimeNs> since_{kWaiting};
};

}  // namespace foregate
