// What a tier of another size or policy would have hit, from a trace (trace.h): drives an eviction policy over slots as
// ExpertStore does, without the bytes. Pure simulation, one thread; equal traces, equal counts. With the budget and
// policy that recorded the trace the counts are the engine's own, as long as no loads ahead were issued and the experts
// of a decode step's layer fit into the slots; wider ones come in waves, whose order a disk decides, and are counted as
// if loads ended in the order in which they began.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/cost_model.h"
#include "engine/experts/eviction.h"
#include "engine/experts/expert_numbers.h"
#include "engine/experts/future_uses.h"
#include "engine/experts/slot_plan.h"
#include "engine/experts/trace.h"

namespace foregate {

// What is in memory before the first step. kTrace: what the trace began with; where the budget is another one, as kWarm
// if it began with anything. kWarm: the experts that its counters say are used most.
enum class ReplayStart : std::uint8_t { kTrace, kCold, kWarm };

struct ReplayOptions {
  std::string policy = "score";    // as make_eviction_policy() takes it
  std::uint64_t budget_bytes = 0;  // of slots
  ReplayStart start = ReplayStart::kTrace;
  const FutureUses* future = nullptr;  // belady: of the same trace, by add_uses(); must outlive the replay
  const CostModel* costs = nullptr;    // null: no estimate of stalls; must outlive the replay
};

struct ReplayFigures {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
  std::uint64_t missed_bytes = 0;  // read for them
  std::uint64_t slots = 0;
  std::uint64_t slot_bytes = 0;
  std::uint64_t first_experts = 0;  // in memory before the first step
  std::uint64_t tokens = 0;         // rows of all steps
  double stall_seconds = 0.0;       // loads that computation did not cover; 0 without costs
  double hit_rate() const;
};

// Bytes of an expert of each size and how many there are.
ExpertSizes sizes_of(const TraceInfo& info);
// The layers of a step, in the order in which a replay calls used().
void add_uses(const TraceStep& step, FutureUses& future);

class Replay {
 public:
  // kInvalidArgument for an unknown policy, a budget below the least, counters or a future that do not fit.
  static Result<Replay> create(const TraceInfo& info, const ReplayOptions& options);
  void run(const TraceStep& step);
  const ReplayFigures& figures() const { return figures_; }
  std::string_view policy() const { return policy_->name(); }

 private:
  struct Pool {
    std::uint64_t bytes = 0;
    std::size_t slots = 0;
    std::vector<ExpertKey> held;
  };
  Replay(const TraceInfo& info, const ReplayOptions& options);
  void fill(const TraceInfo& info);
  void run_layer(const TraceStep& step, const TraceLayer& layer);
  void load(Pool& pool, const TraceStep& step, LayerId layer);
  void add_stall(const TraceLayer& layer, std::uint64_t missed);

  ReplayOptions options_;
  ExpertNumbers numbers_;
  std::vector<std::uint64_t> expert_bytes_;  // by layer
  std::unique_ptr<EvictionPolicy> policy_;
  std::vector<Pool> pools_;
  std::vector<std::size_t> pool_of_;  // by layer
  std::vector<bool> resident_;        // by expert number
  std::vector<bool> needed_;          // likewise: by the layer that runs
  DistinctExperts distinct_;
  std::vector<ExpertKey> found_;    // by the layer that runs, ascending
  std::vector<ExpertKey> missing_;  // likewise
  ReplayFigures figures_;
};

}  // namespace foregate
