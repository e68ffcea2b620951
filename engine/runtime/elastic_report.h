// Series of the budget that KV blocks and experts share, and a line in the log at most every ten seconds in which it
// was shared anew. Written by the engine thread.
#pragma once

#include <string>

#include "engine/api/engine.h"
#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "engine/runtime/counter_follower.h"

namespace foregate {

class ElasticReport {
 public:
  // With no registry given nothing but the log is written.
  ElasticReport(Metrics* registry, const std::string& model_name) : registry_(registry), model_name_(model_name) {}
  void figures(const ElasticFigures& now, std::int64_t blocks, TimeNs time);

 private:
  void make_series();
  void log_line(const ElasticFigures& now, std::int64_t blocks, TimeNs time);

  Metrics* registry_;
  std::string model_name_;
  bool made_ = false;  // only where there is such a budget
  CounterFollower to_cache_, to_experts_, bytes_to_cache_, bytes_to_experts_;
  Gauge* budget_ = nullptr;
  Gauge* cache_ = nullptr;
  Gauge* experts_ = nullptr;
  ElasticFigures last_;  // at the last line
  TimeNs last_line_ = -1;
};

}  // namespace foregate
