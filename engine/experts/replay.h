// What a tier of another size or policy would have hit, from a trace (trace.h): drives an eviction policy over slots as
// ExpertStore does, without the bytes. Pure simulation, one thread; equal traces, equal counts. With the budget and
// policy that recorded the trace the counts are the engine's own, prompts that read ahead of their layers included. Not
// exact are: steps with loads ahead by guess or for certain routes; decode steps whose layer needs more experts than
// there are slots (they come in waves, whose order a disk decides, and are counted as if loads ended in the order in
// which they began); layers with experts of two sizes; steps after one that failed.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/cost_model.h"
#include "engine/experts/eviction.h"
#include "engine/experts/expert_numbers.h"
#include "engine/experts/future_uses.h"
#include "engine/experts/prompt_forecast.h"
#include "engine/experts/slot_plan.h"
#include "engine/experts/trace.h"

namespace foregate {

// What is in memory before the first step. kTrace: what the trace began with; where the budget is another one, as kWarm
// if it began with anything. kWarm: the experts that its counters say are used most.
enum class ReplayStart : std::uint8_t { kTrace, kCold, kWarm };

struct ReplayOptions {
  std::string policy = "auto";     // as make_eviction_policy() takes it
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
  std::uint64_t ahead = 0;         // of prompts: loads begun for the layer after the one that ran
  std::uint64_t ahead_wasted = 0;  // that it did not use
  std::uint64_t slots = 0;
  std::uint64_t slot_bytes = 0;
  std::uint64_t first_experts = 0;  // in memory before the first step
  std::uint64_t tokens = 0;         // rows of all steps, without those of drafts that were rejected
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
  void begin_with(const TraceInfo& info);
  void run_layer(const TraceStep& step, const TraceLayer& layer);
  void begin_layer(const LayerUse& use, const LayerUse& counted, bool reads_ahead);
  void settle_ahead(const LayerUse& use);
  void load(const LayerUse& use);
  void fill(LayerId layer);
  void read_ahead();
  void note_held(LayerId layer);
  bool take(LayerId layer);
  void hold(ExpertKey key);
  void drop(ExpertKey key);
  std::size_t pool_of(LayerId layer) const { return pool_of_[static_cast<std::size_t>(layer.value)]; }
  void add_stall(const TraceLayer& layer, std::uint64_t missed);

  ReplayOptions options_;
  ExpertNumbers numbers_;
  std::vector<std::uint64_t> expert_bytes_;  // by layer
  std::unique_ptr<EvictionPolicy> policy_;
  CountedUse counted_;
  std::vector<Pool> pools_;
  std::vector<std::size_t> pool_of_;  // by layer
  std::vector<bool> resident_;        // by expert number
  std::vector<bool> pinned_;          // likewise
  DistinctExperts distinct_;
  std::size_t sparse_layers_ = 0;
  // Of the layer that runs.
  bool in_order_ = false;           // of a prompt, or swept
  std::vector<ExpertKey> found_;    // ascending
  std::vector<ExpertKey> missing_;  // likewise, without those read ahead
  std::vector<ExpertKey> order_;    // loaded for it, in the order in which they began and are used
  std::vector<ExpertKey> in_vain_;  // read ahead for it and not used
  std::size_t begun_ = 0;           // of the missing
  std::size_t given_back_ = 0;      // of the order
  std::vector<std::set<std::pair<double, ExpertKey>>> may_go_;  // by pool
  // Of the layer after it, in a prompt.
  std::size_t window_ = 0;
  PromptForecast forecast_;
  std::vector<ExpertKey> wanted_;
  std::size_t wanted_next_ = 0;
  bool kept_all_ = false;
  std::vector<ExpertKey> ahead_;
  ReplayFigures figures_;
};

}  // namespace foregate
