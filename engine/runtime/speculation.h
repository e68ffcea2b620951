// Speculation as the loop sees it: asks the drafter before a plan is made, and after a step gives back what rejected
// rows held. Without a drafter all of it does nothing. Owned by the loop, engine thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/api/engine.h"
#include "engine/base/metrics.h"
#include "engine/kv/kv_pools.h"
#include "engine/model/model.h"
#include "engine/runtime/counter_follower.h"
#include "engine/runtime/engine_parts.h"
#include "engine/runtime/sequence_table.h"
#include "engine/runtime/step_io.h"
#include "engine/sched/batch_plan.h"
#include "engine/spec/controller.h"
#include "engine/spec/drafter.h"

namespace foregate {

// After accept_entry: how many rows of the entry's draft stood.
std::int32_t drafts_that_stood(const PlanEntry& entry, const Sequence& seq);

class Speculation {
 public:
  Speculation(SpeculationParts parts, const Clock& clock, Metrics* metrics, const std::string& model_name);
  bool enabled() const { return drafter_ != nullptr; }

  // Before the plan: a draft for every running sequence that is to decode, in Sequence::draft; its length in the view.
  // The model is told of the tokens to come: the newest ones before anything is drafted, then the drafts.
  void propose(SequenceTable& sequences, SeqViews& views, Model& model);
  // Before a step: room for the states of its rows, where the drafter needs them.
  void ask_for_hidden(StepIo& io) const;
  // After accept_entry of entry `index`: the states of its rows that stand, for the drafter.
  void note_rows(const PlanEntry& entry, const Sequence& seq, const StepIo& io, std::size_t index);
  // After a turn with a good step that took so long, drafting, sampling and handing out included.
  void note_turn(const BatchPlan& plan, TimeNs took);
  // After accept_entry, before anything else reads the sequence's blocks: what stands of a tree is moved where a chain
  // would have it. One copy for each token that stands and is not there yet.
  void settle_tree(const PlanEntry& entry, Sequence& seq, const KvPools& pools, KvCache& cache);
  // Of all trees of the step: the places of drafted rows (StepIo::places), entry after entry.
  static void note_places(const PlanEntry& entry, const Sequence& seq, StepIo& io);
  // After accept_entry: counts, and gives blocks back that only rejected rows were in.
  void settle(const PlanEntry& entry, Sequence& seq, KvPools& pools);
  // After a failed step: true when it held drafts. They may be its cause, so those who had one get no more, and the
  // failure is held against nobody.
  bool takes_blame(const BatchPlan& plan, SequenceTable& sequences) const;
  // A row of the draft, or the one before it, was not finite: it gets no more.
  void spoilt(Sequence& seq);
  void forget(SeqId seq);
  void figures(EngineStats& stats);

 private:
  struct Series {
    CounterFollower drafts;
    CounterFollower draft_tokens;
    CounterFollower accepted_tokens;
    std::vector<CounterFollower> accepted_at;
    CounterFollower gated;
    CounterFollower probes;
    CounterFollower spoilt;
    CounterFollower trees;
    CounterFollower branches;
    CounterFollower moved;
  };
  void name_series(Metrics& metrics, const std::string& model_name);
  void warm_up();
  void draft(SequenceTable& sequences, SeqViews& views);
  void choose_lengths(const SeqViews& views);
  void choose_parts(const SeqViews& views, bool instant);
  bool sound(const DraftAsk& ask, const Draft& draft) const;

  std::unique_ptr<Drafter> drafter_;
  std::optional<DraftController> controller_;
  const Clock& clock_;
  std::int32_t most_;
  TreeShape tree_;
  SpecFigures figures_;
  Series series_;
  TimeNs drafting_ = 0;         // of this turn
  std::vector<DraftAsk> asks_;  // scratch of propose()
  std::vector<Draft> drafts_;
  std::vector<Token> foreseen_;
};

}  // namespace foregate
