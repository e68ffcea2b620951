// A metrics counter that keeps up with a count somebody else makes. One thread.
#pragma once

#include "engine/base/metrics.h"

namespace foregate {

struct CounterFollower {
  Counter* counter = nullptr;
  double seen = 0;
  void follow(double value) {
    if (value > seen) counter->add(value - seen);
    seen = value;
  }
};

}  // namespace foregate
