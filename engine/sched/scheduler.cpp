#include "engine/sched/scheduler.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "engine/kv/block_pool.h"

namespace foregate {
namespace {

// Who holds a block while the plan is made: the counts given, and what the plan changes about them.
class Holders {
 public:
  explicit Holders(std::span<const std::int32_t> refs) : refs_(refs) {}
  std::int32_t of(BlockId block) const {
    const auto it = changed_.find(block);
    return it != changed_.end() ? it->second : before(block);
  }
  std::int32_t before(BlockId block) const { return refs_[static_cast<std::size_t>(block.value)]; }
  // How many of them nobody holds.
  std::int32_t unheld(std::span<const BlockId> blocks) const {
    return static_cast<std::int32_t>(std::ranges::count_if(blocks, [this](BlockId b) { return of(b) == 0; }));
  }
  void add(std::span<const BlockId> blocks, std::int32_t count) {
    for (BlockId block : blocks) changed_[block] = of(block) + count;
  }

 private:
  std::span<const std::int32_t> refs_;
  std::unordered_map<BlockId, std::int32_t> changed_;
};

// The plan in the making. `held` is what a sequence holds at the end of this step.
class Planner {
 public:
  Planner(const PlanInput& input, const SchedLimits& limits)
      : input_(input),
        limits_(limits),
        holders_(input.refs),
        free_(input.free_blocks),
        budget_(limits.max_num_batched_tokens) {
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

  // What a waiting sequence takes out of the free blocks when it is admitted.
  struct Admission {
    std::int32_t shared = 0;  // blocks of its prefix
    std::int32_t fresh = 0;   // to reserve
    std::int32_t taken = 0;   // fresh ones, and shared ones that nobody holds
    bool tail = false;
  };

  Admission admission(const SeqView& seq) const {
    Admission a;
    a.shared = static_cast<std::int32_t>(seq.prefix.blocks.size());
    a.fresh = need(seq) - a.shared;
    a.taken = a.fresh + (a.shared > 0 ? holders_.unheld(seq.prefix.blocks) : 0);
    if (!seq.prefix.tail) return a;
    // The block that is copied must outlive the copy; where its holder goes or there is no room for both, what it
    // holds is computed anew.
    const bool held = holders_.of(*seq.prefix.tail) > 0;
    a.tail = held || (holders_.before(*seq.prefix.tail) == 0 && a.taken < free_);
    return a;
  }

  void plan_running(bool decode) {
    for (std::size_t i = 0; i < state_.size() && !full(); ++i) {
      const SeqView& seq = input_.running[i];
      if (seq.paused || state_[i].evicted || (seq.tokens - seq.computed == 1) != decode) continue;
      const std::int32_t more = std::max(0, need(seq) - state_[i].held);
      if (!make_room(i, more)) continue;
      free_ -= more;
      state_[i].held += more;
      state_[i].planned = true;
      add_entry(seq, seq.computed, more);
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

  // Blocks that nobody holds any more once `seq` gives up its own.
  std::int32_t freed(const SeqView& seq, std::int32_t held) {
    if (input_.refs.empty()) return held;
    holders_.add(seq.table, -1);
    return held - seq.blocks + holders_.unheld(seq.table);
  }

  void evict(std::size_t j) {
    State& victim = state_[j];
    free_ += freed(input_.running[j], victim.held);
    victim.held = 0;
    victim.evicted = true;
    active_ -= input_.running[j].paused ? 0 : 1;
    plan_.preempted.push_back(input_.running[j].id);
  }

  PlanEntry& add_entry(const SeqView& seq, std::int32_t first_position, std::int32_t new_blocks) {
    const std::int32_t remaining = seq.tokens - first_position;
    PlanEntry entry;
    entry.seq = seq.id;
    entry.first_position = first_position;
    entry.rows = std::min({remaining, budget_, std::max(1, seq.max_chunk)});
    if (limits_.max_prefill_chunk > 0) entry.rows = std::min(entry.rows, limits_.max_prefill_chunk);
    entry.new_blocks = new_blocks;
    entry.samples = entry.rows == remaining;
    entry.partial = remaining > 1;
    budget_ -= entry.rows;
    plan_.rows += entry.rows;
    plan_.entries.push_back(entry);
    return plan_.entries.back();
  }

  // Blocks that everything running and planned may still ask for.
  std::int32_t growth() const {
    std::int32_t blocks = admitted_growth_;
    for (std::size_t i = 0; i < state_.size(); ++i) {
      if (!state_[i].evicted) blocks += std::max(0, input_.running[i].max_blocks - state_[i].held);
    }
    return blocks;
  }

  bool fits(const SeqView& seq, const Admission& a) const {
    if (!seq.was_preempted) return a.taken <= free_;
    return a.taken + std::max(0, seq.max_blocks - need(seq)) + growth() <= free_;
  }

  void admit() {
    for (const SeqView& seq : input_.waiting) {
      if (seq.paused || seq.pending) continue;
      if (full() || active_ >= limits_.max_num_seqs) return;
      const Admission a = admission(seq);
      if (!fits(seq, a)) return;
      free_ -= a.taken + (a.tail && holders_.of(*seq.prefix.tail) == 0 ? 1 : 0);
      if (a.shared > 0) holders_.add(seq.prefix.blocks, 1);
      if (a.tail) holders_.add({&*seq.prefix.tail, 1}, 1);
      admitted_growth_ += std::max(0, seq.max_blocks - need(seq));
      ++active_;
      const std::int32_t first = a.shared * input_.block_size + (a.tail ? seq.prefix.tail_tokens : 0);
      PlanEntry& entry = add_entry(seq, first, a.fresh);
      entry.shared_blocks = a.shared;
      entry.copies_tail = a.tail;
      entry.partial = !entry.samples;
      entry.admitted = true;
    }
  }

  void make_room_for_head() {
    const auto head = std::ranges::find_if(input_.waiting, [](const SeqView& s) { return !s.paused && !s.pending; });
    if (head == input_.waiting.end()) return;
    while (!fits(*head, admission(*head))) {
      const std::size_t victim = latest_paused();
      if (victim == state_.size()) return;
      evict(victim);
    }
    admit();
  }

  const PlanInput& input_;
  const SchedLimits& limits_;
  Holders holders_;
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
