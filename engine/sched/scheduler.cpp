#include "engine/sched/scheduler.h"

#include <algorithm>
#include <vector>

#include "engine/kv/block_pool.h"

namespace foregate {
namespace {

// The plan in the making. `held` is what a sequence holds at the end of this step.
class Planner {
 public:
  Planner(const PlanInput& input, const SchedLimits& limits)
      : input_(input), limits_(limits), free_(input.free_blocks), budget_(limits.max_num_batched_tokens) {
    state_.resize(input.running.size());
    for (std::size_t i = 0; i < state_.size(); ++i) {
      state_[i].held = input.running[i].blocks;
      active_ += input.running[i].paused ? 0 : 1;
    }
  }

  BatchPlan make() {
    plan_running(true);
    plan_running(false);
    if (plan_.preempted.empty()) admit();
    if (plan_.empty()) make_room_for_head();
    return std::move(plan_);
  }

 private:
  struct State {
    std::int32_t held = 0;
    bool evicted = false;
    bool planned = false;
  };

  bool full() const { return budget_ <= 0 || static_cast<std::int32_t>(plan_.entries.size()) >= limits_.max_num_seqs; }
  std::int32_t need(const SeqView& seq) const { return blocks_for(seq.tokens, input_.block_size); }

  void plan_running(bool decode) {
    for (std::size_t i = 0; i < state_.size() && !full(); ++i) {
      const SeqView& seq = input_.running[i];
      if (seq.paused || state_[i].evicted || (seq.tokens - seq.computed == 1) != decode) continue;
      const std::int32_t more = std::max(0, need(seq) - state_[i].held);
      if (!make_room(i, more)) continue;
      free_ -= more;
      state_[i].held += more;
      state_[i].planned = true;
      add_entry(seq, more, false);
    }
  }

  // True when `blocks` are free for running sequence i, after preempting others if need be.
  bool make_room(std::size_t i, std::int32_t blocks) {
    while (free_ < blocks) {
      const std::size_t victim = pick_victim(i);
      if (victim == state_.size()) return false;
      evict(victim);
      if (victim == i) return false;
    }
    return true;
  }

  std::size_t latest_paused() const {
    for (std::size_t j = state_.size(); j-- > 0;) {
      if (input_.running[j].paused && !state_[j].evicted) return j;
    }
    return state_.size();
  }

  std::size_t pick_victim(std::size_t i) const {
    const std::size_t paused = latest_paused();
    if (paused != state_.size()) return paused;
    for (std::size_t j = state_.size(); j-- > i;) {
      if (!state_[j].evicted && !state_[j].planned) return j;
    }
    return state_.size();
  }

  void evict(std::size_t j) {
    State& victim = state_[j];
    free_ += victim.held;
    victim.held = 0;
    victim.evicted = true;
    active_ -= input_.running[j].paused ? 0 : 1;
    plan_.preempted.push_back(input_.running[j].id);
  }

  void add_entry(const SeqView& seq, std::int32_t new_blocks, bool admitted) {
    const std::int32_t remaining = seq.tokens - seq.computed;
    PlanEntry entry;
    entry.seq = seq.id;
    entry.first_position = seq.computed;
    entry.rows = std::min({remaining, budget_, std::max(1, seq.max_chunk)});
    if (limits_.max_prefill_chunk > 0) entry.rows = std::min(entry.rows, limits_.max_prefill_chunk);
    entry.new_blocks = new_blocks;
    entry.samples = entry.rows == remaining;
    entry.partial = remaining > 1 && !(entry.samples && seq.computed == 0);
    entry.admitted = admitted;
    budget_ -= entry.rows;
    plan_.rows += entry.rows;
    plan_.entries.push_back(entry);
  }

  // Blocks that everything running and planned may still ask for.
  std::int32_t growth() const {
    std::int32_t blocks = admitted_growth_;
    for (std::size_t i = 0; i < state_.size(); ++i) {
      if (!state_[i].evicted) blocks += std::max(0, input_.running[i].max_blocks - state_[i].held);
    }
    return blocks;
  }

  bool fits(const SeqView& seq) const {
    return seq.was_preempted ? std::max(seq.max_blocks, need(seq)) + growth() <= free_ : need(seq) <= free_;
  }

  void admit() {
    for (const SeqView& seq : input_.waiting) {
      if (seq.paused) continue;
      if (full() || active_ >= limits_.max_num_seqs || !fits(seq)) return;
      free_ -= need(seq);
      admitted_growth_ += std::max(0, seq.max_blocks - need(seq));
      ++active_;
      add_entry(seq, need(seq), true);
    }
  }

  void make_room_for_head() {
    const auto head =
        std::find_if(input_.waiting.begin(), input_.waiting.end(), [](const SeqView& s) { return !s.paused; });
    if (head == input_.waiting.end()) return;
    while (!fits(*head)) {
      const std::size_t victim = latest_paused();
      if (victim == state_.size()) return;
      evict(victim);
    }
    admit();
  }

  const PlanInput& input_;
  const SchedLimits& limits_;
  std::vector<State> state_;
  std::int32_t free_;
  std::int32_t budget_;
  std::int32_t active_ = 0;  // unpaused sequences that hold blocks
  std::int32_t admitted_growth_ = 0;
  BatchPlan plan_;
};

}  // namespace

BatchPlan plan_step(const PlanInput& input, const SchedLimits& limits) {
  return Planner(input, limits).make();
}

}  // namespace foregate
