#include "engine/experts/link_clock.h"

namespace foregate {
namespace {

constexpr double kNew = 0.05;  // what the newest layer counts for

void note(double& average, double seconds) {
  average += (average == 0.0 ? 1.0 : kNew) * (seconds - average);
}

}  // namespace

void LinkClock::begin(LayerId layer, bool decode, double now) {
  if (decode && decode_ && running_.value >= 0 && layer.value > running_.value) {
    note(layer_, now - begin_);
    if (!loads_) {
      note(without_, now - begin_);
    } else if (end_ > begin_) {
      note(after_loads_, now - end_);
    }
  }
  running_ = layer;
  decode_ = decode;
  loads_ = false;
  begin_ = now;
}

double LinkClock::idle() const {
  return loads_ || without_ == 0.0 ? after_loads_ : without_;
}

}  // namespace foregate
