// Metrics of scheduling: the policy in force and what it did, copies of preempted blocks, bounds of the queue.
// Written by the engine thread; the registry is thread-safe.
#pragma once

#include <cstdint>

#include "engine/api/engine.h"
#include "engine/base/metrics.h"
#include "engine/runtime/counter_follower.h"
#include "engine/runtime/engine_parts.h"
#include "engine/runtime/live_requests.h"

namespace foregate {

class SchedReport {
 public:
  // Without a registry nothing is reported.
  SchedReport(Metrics* registry, const EngineOptions& options);
  // Once a turn. `mixed_rows`: bound of a step with decode rows in it; 0: none.
  void figures(const EngineStats& stats, const LedgerFigures& ledger, std::int32_t mixed_rows);

 private:
  void add_counters(Metrics& m, const Labels& labels);
  bool on_ = false;
  CounterFollower demotions_;
  CounterFollower promotions_;
  CounterFollower refills_;
  CounterFollower held_back_;
  CounterFollower swaps_out_;
  CounterFollower swaps_in_;
  CounterFollower refused_full_;
  CounterFollower refused_tokens_;
  CounterFollower refused_share_;
  CounterFollower rejected_requests_;
  CounterFollower rejected_tokens_;
  CounterFollower rejected_share_;
  Gauge* swap_bytes_ = nullptr;
  Gauge* queued_tokens_ = nullptr;
  Gauge* mixed_rows_ = nullptr;
};

}  // namespace foregate
