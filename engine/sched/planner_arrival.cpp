#include <algorithm>
#include <utility>

#include "engine/sched/planner.h"

namespace foregate {

BatchPlan Planner::by_arrival() {
  plan_running(true);
  decode_rows_ = plan_.rows;
  budget_ = prompt_budget(budget_, decode_rows_);
  plan_running(false);
  if (plan_.preempted.empty()) admit();
  if (plan_.empty()) make_room_for_head();
  add_drafts();
  return std::move(plan_);
}

bool Planner::full() const {
  return budget_ <= 0 || static_cast<std::int32_t>(plan_.entries.size()) >= limits_.max_num_seqs;
}

void Planner::plan_running(bool decode) {
  for (std::size_t i = 0; i < state_.size() && !full(); ++i) {
    const SeqView& seq = input_.running[i];
    if (seq.paused || seq.held_back || state_[i].evicted || (seq.tokens - seq.computed == 1) != decode) continue;
    if (!make_room(i, more_for(i, 1), decode)) continue;
    const std::int32_t rows = rows_in_room(i, most_rows(seq, seq.computed, budget_));
    const Blocks more = more_for(i, rows);
    take(i, more);
    add_entry(seq, seq.computed, more, rows);
  }
}

// True when `blocks` are free for running sequence i, after preempting others if need be. `gives_way`: else it gives up
// its own. A prompt under way keeps them and waits: the youngest may be one that decodes and has its row already, and
// no other yields before that.
bool Planner::make_room(std::size_t i, const Blocks& blocks, bool gives_way) {
  while (!blocks.within(free_)) {
    const std::size_t victim = pick_victim(i, gives_way);
    if (victim == state_.size() || (victim == i && !gives_way)) return false;
    evict(victim);
    if (victim == i) return false;
  }
  return true;
}

std::size_t Planner::pick_victim(std::size_t i, bool over_planned) const {
  const std::size_t paused = latest_paused();
  if (paused != state_.size()) return paused;
  for (std::size_t j = state_.size(); j-- > i;) {
    if (state_[j].evicted) continue;
    if (!state_[j].planned) return j;
    if (!over_planned) break;
  }
  return state_.size();
}

// Blocks that everything running and planned may still ask for.
Blocks Planner::growth() const {
  Blocks blocks = admitted_growth_;
  for (std::size_t i = 0; i < state_.size(); ++i) {
    if (!state_[i].evicted) blocks += growth_of(i);
  }
  return blocks;
}

bool Planner::fits(const SeqView& seq, const Admission& a) const {
  Blocks wanted = a.taken;
  if (seq.was_preempted) {
    wanted += growth_of(seq, a);
    wanted += growth();
  }
  return wanted.within(free_);
}

void Planner::admit() {
  for (const SeqView& seq : input_.waiting) {
    if (seq.paused || seq.pending) continue;
    if (full() || active_ >= limits_.max_num_seqs) return;
    const Admission a = admission(seq, budget_);
    if (!fits(seq, a)) return;
    take(seq, a);
    add_admission(seq, a);
  }
}

void Planner::make_room_for_head() {
  const auto head = std::ranges::find_if(input_.waiting, [](const SeqView& s) { return !s.paused && !s.pending; });
  if (head == input_.waiting.end()) return;
  while (!fits(*head, admission(*head, budget_))) {
    const std::size_t victim = latest_paused();
    if (victim == state_.size()) return;
    evict(victim);
  }
  admit();
}

}  // namespace foregate
