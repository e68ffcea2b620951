// Series of the window that dense weights pass through. Written by the engine thread.
#pragma once

#include <memory>
#include <string>

#include "engine/api/engine.h"
#include "engine/base/metrics.h"
#include "engine/runtime/counter_follower.h"

namespace foregate {

class DenseReport {
 public:
  // With no registry given nothing is written.
  DenseReport(Metrics* registry, const std::string& model_name);
  void figures(const DenseFigures& now);

 private:
  void make_series();

  Metrics* registry_;
  std::string model_name_;
  bool made_ = false;  // only models that have a window show its series
  CounterFollower ready_, late_, loads_, bytes_, retries_, failures_, stall_;
  Gauge* streamed_ = nullptr;
};

}  // namespace foregate
