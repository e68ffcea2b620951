// Between sequences and expert-aware batch forming (sched/expert_batch.h): shows it which experts each sequence used
// last, which are in memory and what the times are, and marks whom it holds back. Owned by the loop, engine thread
// only.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/api/engine.h"
#include "engine/model/model.h"
#include "engine/runtime/sequence_table.h"
#include "engine/sched/batch_plan.h"
#include "engine/sched/expert_batch.h"

namespace foregate {

class ExpertBatcher {
 public:
  // `max_held_back` 0: nobody is held back. `model` must outlive this.
  ExpertBatcher(std::int32_t max_held_back, Model& model);
  // Plan, once the views are in the order of the policy: sets SeqView::held_back of sequences that decode, and counts
  // them. While a prompt is computed nobody is held back: it wakes most experts anyway.
  void form(SequenceTable& sequences, SeqViews& views, EngineStats& stats);
  // A step was committed, which took so long.
  void ran(const BatchPlan& plan, SequenceTable& sequences, double seconds);

 private:
  ExpertBatchCost cost(const ExpertFigures& figures) const;
  const std::int32_t max_held_back_;
  Model& model_;
  std::vector<SeqId> held_back_;  // in this turn
  double step_seconds_ = 0.0;     // of a step without its waits for experts, averaged
  double stall_seconds_ = 0.0;    // until the last step
};

}  // namespace foregate
