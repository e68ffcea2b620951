// What becomes of the KV blocks of a preempted sequence: given up and computed again, or copied to host memory and
// taken back, whichever was asked for or costs less. Owned by the loop, engine thread only.
#pragma once

#include <cstdint>
#include <span>

#include "engine/api/engine.h"
#include "engine/base/clock.h"
#include "engine/kv/kv_pools.h"
#include "engine/kv/swap_space.h"
#include "engine/runtime/engine_parts.h"
#include "engine/runtime/sequence_table.h"
#include "engine/runtime/swap_report.h"
#include "engine/sched/batch_plan.h"
#include "engine/sched/step_cost.h"

namespace foregate {

class SwapKeeper {
 public:
  SwapKeeper(Device& device, const EngineOptions& options, const Clock& clock, Metrics* registry);
  // Measures what copies cost, by one block; nothing changes in it. At start.
  void probe(const KvCache& cache);
  // Before the blocks of `seq` are given up: copies what was computed, or not. Sets seq.saved.
  void preempted(Sequence& seq, const KvCache& cache, const StepCost& steps, EngineStats& stats);
  // Stage: fills the blocks reserved for what comes back.
  void restore(const BatchPlan& plan, SequenceTable& sequences, const KvStep& step, KvCache& cache);
  // Commit: `seq` runs again, its copy is not needed any more.
  void resumed(const PlanEntry& entry, Sequence& seq, EngineStats& stats);
  void ended(SeqId seq) { space_.drop(seq); }
  void figures(EngineStats& stats);

 private:
  struct Copied {
    std::span<const BlockId> blocks;
    std::span<const BlockId> window_blocks;
    std::int64_t bytes = 0;
  };
  static Copied of(const Sequence& seq, const KvCache& cache);
  bool wanted(const Sequence& seq, const KvCache& cache, const Copied& copied, const StepCost& steps);
  const PreemptionMode mode_;
  const std::int32_t chunk_;
  const Clock& clock_;
  const std::int64_t space_bytes_;
  SwapSpace space_;
  SwapReport report_;
  CopyRate rate_;
};

}  // namespace foregate
