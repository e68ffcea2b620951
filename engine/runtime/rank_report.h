// What the expert stores of other ranks did, in rank 0's /metrics: series named moe_rank_*, by rank. Engine thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "engine/base/ids.h"
#include "engine/base/metrics.h"
#include "engine/model/rank_figures.h"
#include "engine/runtime/counter_follower.h"

namespace foregate {

class RankReport {
 public:
  // A rank has series from its first figures on. `metrics` must outlive this.
  RankReport(Metrics& metrics, std::string model_name) : metrics_(metrics), model_name_(std::move(model_name)) {}
  // A rank that was started again begins to count at 0.
  void figures(RankId rank, const RankFigures& now);

 private:
  struct Series {
    CounterFollower hits, misses, evictions, loads, loaded_bytes, stall;
    Gauge* slots = nullptr;
    Gauge* used = nullptr;
    Gauge* bytes = nullptr;
  };
  Series make(RankId rank);

  Metrics& metrics_;
  const std::string model_name_;
  std::map<RankId, Series> series_;
};

}  // namespace foregate
