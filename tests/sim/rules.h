// What every plan must keep, whoever made it: bounds, who may run, who gives way to whom, who is admitted before whom,
// and for how long nobody who could run is passed over. Judged from what the clients know, not from what the scheduler
// says of itself.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine/runtime/engine_parts.h"
#include "engine/sched/scheduler.h"
#include "tests/sim/ledger.h"

namespace foregate::sim {

class Rules {
 public:
  Rules(Ledger& ledger, const EngineOptions& options, std::int32_t max_positions)
      : ledger_(ledger), options_(options), max_positions_(max_positions) {}
  void judge(const PlanInput& input, const BatchPlan& plan);
  void step_done(const PlanInput& input, const BatchPlan& plan);  // after it, when it was good

 private:
  struct Seat {
    const SeqView* view = nullptr;
    const PlanEntry* entry = nullptr;
    bool runs = false;
    bool evicted = false;
    bool can_run() const { return !view->paused && !view->pending; }
  };
  std::vector<Seat> seats(const PlanInput& input, const BatchPlan& plan) const;
  void judge_bounds(const std::vector<Seat>& seats, const BatchPlan& plan);
  void judge_suspects(const std::vector<Seat>& seats);
  void judge_yield(const std::vector<Seat>& seats);
  void judge_admission(const std::vector<Seat>& seats);
  std::int64_t rank(const Seat& seat) const;

  Ledger& ledger_;
  const EngineOptions& options_;
  const std::int32_t max_positions_;
  std::vector<SeqId> passed_by_;  // in the step now under way
  std::vector<SeqId> held_back_;  // likewise
};

}  // namespace foregate::sim
