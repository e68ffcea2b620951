// Series of the slots that a device has in front of experts in host memory, and one line about them. Written by the
// engine thread.
#pragma once

#include <optional>
#include <string>

#include "engine/api/engine.h"
#include "engine/base/metrics.h"
#include "engine/runtime/counter_follower.h"

namespace foregate {

// For log and status page; what there is without tiers when there are none. Logs it when there are.
std::string tier_text(const std::optional<TierFigures>& tier);

class TierReport {
 public:
  // With no registry given nothing is written.
  TierReport(Metrics* registry, const std::string& model_name);
  void figures(const TierFigures& now);

 private:
  void make_series();

  Metrics* registry_;
  std::string model_name_;
  bool made_ = false;  // only models with such slots show their series
  CounterFollower hits_, misses_, bytes_, fetched_, computed_, computed_seconds_, evictions_;
  CounterFollower ahead_, ahead_useful_, ahead_wasted_;
  Gauge* slots_ = nullptr;
  Gauge* used_ = nullptr;
  Gauge* link_ = nullptr;
  Gauge* staged_ = nullptr;
};

}  // namespace foregate
