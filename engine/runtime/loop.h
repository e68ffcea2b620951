// The engine thread: admit, plan, stage, run, fetch, commit, retire, over and over. All state in
// here belongs to that thread alone (INV-1); other threads reach it through EngineShared.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/kv/kv_pools.h"
#include "engine/runtime/dense_report.h"
#include "engine/runtime/elastic_memory.h"
#include "engine/runtime/elastic_report.h"
#include "engine/runtime/engine_metrics.h"
#include "engine/runtime/engine_parts.h"
#include "engine/runtime/engine_shared.h"
#include "engine/runtime/expert_batcher.h"
#include "engine/runtime/expert_report.h"
#include "engine/runtime/kv_residency.h"
#include "engine/runtime/policy_keeper.h"
#include "engine/runtime/prefix_sharing.h"
#include "engine/runtime/sched_report.h"
#include "engine/runtime/sequence_table.h"
#include "engine/runtime/speculation.h"
#include "engine/runtime/step_io.h"
#include "engine/runtime/step_runner.h"
#include "engine/runtime/swap_keeper.h"
#include "engine/runtime/tier_report.h"
#include "engine/sample/sampler.h"
#include "engine/sched/scheduler.h"

namespace foregate {

class EngineLoop {
 public:
  EngineLoop(EngineParts parts, EngineShared& shared);
  void run();  // the body of the engine thread; returns when the inbox is closed and all have ended

  // What run() is made of, for a caller that is the engine thread itself: one turn that waits for nothing, true when it
  // had a step; and the end, after which nobody is live.
  bool turn();
  void end();
  // kInternal says which of INV-2, INV-3 and INV-24 is broken. Between turns.
  Status audit() const;

 private:
  bool turn_unguarded();
  // admit
  void admit(TimeNs now);
  void add_request(const Submission& submission, TimeNs now);
  void apply_control(Control control, TimeNs now);
  void expire(TimeNs now);
  // plan
  BatchPlan plan();
  SchedLimits sched_limits() const;
  void preempt(Sequence& seq);
  void release_blocks(Sequence& seq);
  void wait_for_work();
  // stage, run, commit
  bool step(const BatchPlan& plan);
  bool stage(const BatchPlan& plan, KvStep& step);
  void note_first_runs(const BatchPlan& plan, TimeNs now);
  void commit(const BatchPlan& plan, TimeNs now);
  void step_failed(const BatchPlan& plan, const Status& why, TimeNs now);
  void emit(Sequence& seq, TokenEvent event, TimeNs now);
  // retire
  void retire(Sequence& seq, FinishReason reason, TimeNs now);
  void wipe(const Sequence& seq);
  void wipe_rejected(const PlanEntry& entry, Sequence& seq);
  void finish(Sequence& seq, FinishReason reason, TimeNs now, Status error = {});
  void end_all(FinishReason reason, const Status& error);
  void count_live();
  void end_turn();
  void fail_engine(const Status& why);

  const EngineOptions options_;
  const ModelInfo info_;
  const Clock& clock_;
  EngineShared& shared_;
  StepRunner runner_;
  KvPools pools_;
  BlockPool& pool_;  // the main one
  KvResidency residency_;
  PrefixSharing prefixes_;
  PolicyKeeper policy_;
  ExpertBatcher batcher_;
  SwapKeeper swap_;
  ElasticMemory elastic_;
  const PlanStep planner_;
  StepCost step_cost_;
  Speculation speculation_;
  Sampler sampler_;
  EngineMetrics metrics_;
  SchedReport sched_;
  ExpertReport experts_;
  TierReport tier_;
  DenseReport dense_;
  ElasticReport elastic_report_;
  SequenceTable sequences_;
  StepIo io_;
  EngineStats stats_;
  std::vector<LiveSample> live_;  // of this turn
  std::uint64_t seeds_drawn_ = 0;
  std::int32_t fatal_in_a_row_ = 0;
  struct Ended {
    RequestId request;
    bool began = false;
  };
  std::vector<Ended> ended_;  // samples that ended in this turn, still counted as live
};

}  // namespace foregate
