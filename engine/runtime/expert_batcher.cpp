#include "engine/runtime/expert_batcher.h"

#include <algorithm>

namespace foregate {
namespace {

constexpr double kNewest = 0.1;  // weight of the newest step

}  // namespace

ExpertBatcher::ExpertBatcher(std::int32_t max_held_back, Model& model) : max_held_back_(max_held_back), model_(model) {
  if (max_held_back_ > 0) model_.keep_routes();
}

ExpertBatchCost ExpertBatcher::cost(const ExpertFigures& figures) const {
  if (figures.slots == 0 || !(figures.costed_read_rate > 0)) return {};
  const double expert_bytes = static_cast<double>(figures.slot_bytes) / static_cast<double>(figures.slots);
  return {step_seconds_, expert_bytes / figures.costed_read_rate};
}

void ExpertBatcher::form(SequenceTable& sequences, SeqViews& views, EngineStats& stats) {
  held_back_.clear();
  if (max_held_back_ == 0 || !stats.experts) return;
  std::vector<ExpertBatchView> shown;
  std::vector<std::size_t> at;
  for (std::size_t i = 0; i < views.running.size(); ++i) {
    const SeqView& view = views.running[i];
    if (view.paused) continue;
    if (view.tokens - view.computed > 1) return;
    const Sequence& seq = sequences.at(view.id);
    shown.push_back({model_.last_experts(seq.request->id.value), seq.held_back});
    at.push_back(i);
  }
  const std::span<const std::uint8_t> resident = model_.resident_experts();
  const ExpertBatchCost times = cost(*stats.experts);
  if (shown.size() < 2 || resident.empty() || times.load_seconds == 0) return;
  for (const std::size_t i : hold_back(shown, resident, times, max_held_back_)) {
    SeqView& view = views.running[at[i]];
    view.held_back = true;
    held_back_.push_back(view.id);
    ++stats.expert_held_back;
  }
}

void ExpertBatcher::ran(const BatchPlan& plan, SequenceTable& sequences, double seconds) {
  if (max_held_back_ == 0) return;
  for (const SeqId id : held_back_) ++sequences.at(id).held_back;
  for (const PlanEntry& entry : plan.entries) sequences.at(entry.seq).held_back = 0;
  const auto figures = model_.expert_figures();
  const double stalled = figures ? figures->stall_seconds : 0.0;
  const double own = std::max(0.0, seconds - (stalled - stall_seconds_));
  stall_seconds_ = stalled;
  step_seconds_ = step_seconds_ > 0 ? step_seconds_ + kNewest * (own - step_seconds_) : own;
}

}  // namespace foregate
