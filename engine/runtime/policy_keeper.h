// Between sequences and the scheduling policy: shows the policy what it may know, puts the views of a turn in its
// order, and keeps what it remembers. Owned by the loop, engine thread only.
#pragma once

#include <cstdint>
#include <map>

#include "engine/api/engine.h"
#include "engine/runtime/sequence_table.h"
#include "engine/sched/batch_plan.h"
#include "engine/sched/policy.h"

namespace foregate {

class PolicyKeeper {
 public:
  explicit PolicyKeeper(const PolicyOptions& options) : options_(options) {}
  const PolicyOptions& options() const { return options_; }
  bool ranked() const { return takes_from_running(options_.kind); }
  bool needs_prefixes() const { return options_.kind == PolicyKind::kDlpm; }  // SeqView::prefix, before rank()

  void joined(Sequence& seq) const;
  // Best rank first, with SeqView::rank filled.
  void rank(SequenceTable& sequences, SeqViews& views);
  // A step was committed, before its sequences change.
  void ran(const BatchPlan& plan, SequenceTable& sequences, EngineStats& stats);
  void sampled(const Sequence& seq, std::int32_t tokens);
  void retired(SequenceTable& sequences);  // after some have ended

 private:
  void note_levels(const BatchPlan& plan, SequenceTable& sequences, EngineStats& stats) const;
  void charge(const BatchPlan& plan, SequenceTable& sequences, EngineStats& stats);
  const PolicyOptions options_;
  DlpmBook book_;
  std::map<std::uint64_t, std::int32_t> waiting_;  // that could be admitted in this turn, by client
};

}  // namespace foregate
