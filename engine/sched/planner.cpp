#include "engine/sched/planner.h"

#include <algorithm>

#include "engine/kv/block_pool.h"

namespace foregate {

Planner::Planner(const PlanInput& input, const SchedLimits& limits)
    : input_(input),
      limits_(limits),
      holders_(input.refs),
      window_holders_(input.window_refs),
      free_{input.free_blocks, input.free_window_blocks},
      budget_(limits.max_num_batched_tokens) {
  state_.resize(input.running.size());
  for (std::size_t i = 0; i < state_.size(); ++i) {
    state_[i].reach = {input.running[i].blocks, input.running[i].window_blocks};
    active_ += input.running[i].paused ? 0 : 1;
  }
}

std::int32_t Planner::need(const SeqView& seq) const {
  return blocks_for(seq.tokens, input_.block_size);
}

// For the next `rows` rows of a running sequence. Blocks of the main group are for all its tokens.
Blocks Planner::more_for(std::size_t running, std::int32_t rows) const {
  const SeqView& seq = input_.running[running];
  const Blocks& reach = state_[running].reach;
  Blocks more{std::max(0, need(seq) - reach.main), 0};
  if (grouped()) more.window = std::max(0, blocks_for(seq.computed + rows, input_.block_size) - reach.window);
  return more;
}

// Rows, one at least, for which no blocks of the window group are needed beyond those that are free.
std::int32_t Planner::rows_in_room(std::size_t running, std::int32_t rows) const {
  if (!grouped()) return rows;
  const std::int32_t places = state_[running].reach.window + std::max(0, free_.window);
  return std::clamp(places * input_.block_size - input_.running[running].computed, 1, rows);
}

Planner::Admission Planner::admission(const SeqView& seq, std::int32_t budget) const {
  Admission a;
  a.shared.main = static_cast<std::int32_t>(seq.prefix.blocks.size());
  a.fresh.main = need(seq) - a.shared.main;
  a.taken.main = a.fresh.main + (a.shared.main > 0 ? holders_.unheld(seq.prefix.blocks) : 0);
  a.first = a.shared.main * input_.block_size;
  const auto restore = [&] { a.first = a.restored = seq.saved; };
  if (seq.saved > a.first + (seq.prefix.tail ? seq.prefix.tail_tokens : 0)) restore();
  a.rows = most_rows(seq, a.first, budget);
  share_window(seq, a);
  if (a.restored > 0 || !seq.prefix.tail) return a;
  a.tail = may_copy_tail(seq, a);
  if (a.tail) {
    a.first += seq.prefix.tail_tokens;
  } else if (seq.saved > a.first) {
    restore();
  }
  a.rows = most_rows(seq, a.first, budget);
  share_window(seq, a);
  return a;
}

// Whether there is room for the block that is copied: it must outlive the copy; where its holder goes or there is no
// room for both, what it holds is computed anew.
bool Planner::may_copy_tail(const SeqView& seq, const Admission& a) const {
  const auto may = [](const BlockHolders& holders, BlockId tail, std::int32_t taken, std::int32_t free) {
    return holders.of(tail) > 0 || (holders.before(tail) == 0 && taken < free);
  };
  if (!may(holders_, *seq.prefix.tail, a.taken.main, free_.main)) return false;
  return !grouped() || may(window_holders_, *seq.prefix.window_tail, a.taken.window, free_.window);
}

// The blocks of the window group for the rows of an admission.
void Planner::share_window(const SeqView& seq, Admission& a) const {
  if (!grouped()) return;
  a.first_window = a.restored > 0 ? seq.saved_window_first : seq.prefix.window_first;
  const auto shared = a.restored > 0 ? std::span<const BlockId>() : seq.prefix.window_blocks;
  a.shared.window = static_cast<std::int32_t>(shared.size());
  a.fresh.window = blocks_for(a.first + a.rows, input_.block_size) - a.first_window - a.shared.window;
  a.taken.window = a.fresh.window + (shared.empty() ? 0 : window_holders_.unheld(shared));
}

// Blocks of the window group that a sequence may hold from the step that starts at `first_position` on.
std::int32_t Planner::most_window(const SeqView& seq, std::int32_t first_position) const {
  const std::int32_t rows = std::clamp(seq.tokens - first_position, 1, input_.window.rows);
  return std::min(seq.max_blocks, most_in_window(input_.window.positions, rows, input_.block_size));
}

// Blocks that a running sequence may still ask for. Of the window group those it shares do not count as its own, since
// they do not become free when it gives them up.
Blocks Planner::growth_of(std::size_t running) const {
  const SeqView& seq = input_.running[running];
  const State& state = state_[running];
  Blocks growth{std::max(0, seq.max_blocks - state.reach.main), 0};
  if (!grouped()) return growth;
  const auto own = std::ranges::count_if(seq.window_table, [this](BlockId b) { return window_holders_.of(b) == 1; });
  growth.window = std::max(0, most_window(seq, seq.computed) - static_cast<std::int32_t>(own) - state.rising.window);
  return growth;
}

// Likewise of a waiting one after its admission.
Blocks Planner::growth_of(const SeqView& seq, const Admission& a) const {
  Blocks growth{std::max(0, seq.max_blocks - need(seq)), 0};
  if (grouped()) growth.window = std::max(0, most_window(seq, a.first) - a.taken.window);
  return growth;
}

std::size_t Planner::latest_paused() const {
  for (std::size_t j = state_.size(); j-- > 0;) {
    if (input_.running[j].paused && !state_[j].evicted) return j;
  }
  return state_.size();
}

// Blocks that nobody holds any more once `seq` gives up its own.
Blocks Planner::freed(const SeqView& seq, const State& state) {
  Blocks blocks{state.reach.main, 0};
  if (!input_.refs.empty()) {
    holders_.add(seq.table, -1);
    blocks.main = state.reach.main - seq.blocks + holders_.unheld(seq.table);
  }
  if (!grouped()) return blocks;
  window_holders_.add(seq.window_table, -1);
  blocks.window = state.rising.window + window_holders_.unheld(seq.window_table);
  return blocks;
}

void Planner::evict(std::size_t running) {
  State& victim = state_[running];
  free_ += freed(input_.running[running], victim);
  victim.reach = victim.rising = {};
  victim.evicted = true;
  active_ -= input_.running[running].paused ? 0 : 1;
  plan_.preempted.push_back(input_.running[running].id);
}

void Planner::take(std::size_t running, const Blocks& blocks) {
  free_ -= blocks;
  state_[running].reach += blocks;
  state_[running].rising += blocks;
  state_[running].planned = true;
}

void Planner::take(const SeqView& seq, const Admission& a) {
  free_ -= a.taken;
  if (a.shared.main > 0) holders_.add(seq.prefix.blocks, 1);
  if (a.shared.window > 0) window_holders_.add(seq.prefix.window_blocks, 1);
  const auto hold = [](BlockId tail, BlockHolders& holders, std::int32_t& free, std::vector<BlockId>& tails) {
    free -= holders.of(tail) == 0 ? 1 : 0;
    holders.add({&tail, 1}, 1);
    tails.push_back(tail);
  };
  if (a.tail) hold(*seq.prefix.tail, holders_, free_.main, tails_);
  if (a.tail && grouped()) hold(*seq.prefix.window_tail, window_holders_, free_.window, window_tails_);
  admitted_growth_ += growth_of(seq, a);
  ++active_;
}

std::int32_t Planner::most_rows(const SeqView& seq, std::int32_t first_position, std::int32_t budget) const {
  std::int32_t rows = std::min({seq.tokens - first_position, budget, std::max(1, seq.max_chunk)});
  if (grouped()) rows = std::min(rows, input_.window.rows);
  return limits_.max_prefill_chunk > 0 ? std::min(rows, limits_.max_prefill_chunk) : rows;
}

PlanEntry& Planner::add_entry(const SeqView& seq, std::int32_t first_position, const Blocks& fresh, std::int32_t rows) {
  const std::int32_t remaining = seq.tokens - first_position;
  PlanEntry entry;
  entry.seq = seq.id;
  entry.first_position = first_position;
  entry.rows = rows;
  entry.new_blocks = fresh.main;
  entry.new_window_blocks = fresh.window;
  entry.samples = rows == remaining;
  entry.partial = remaining > 1;
  budget_ -= rows;
  plan_.rows += rows;
  plan_.entries.push_back(entry);
  return plan_.entries.back();
}

void Planner::add_admission(const SeqView& seq, const Admission& a) {
  PlanEntry& entry = add_entry(seq, a.first, a.fresh, a.rows);
  entry.shared_blocks = a.shared.main;
  entry.shared_window_blocks = a.shared.window;
  entry.first_window_block = a.first_window;
  entry.copies_tail = a.tail;
  entry.restored = a.restored;
  entry.partial = !entry.samples;
  entry.admitted = true;
}

// Prompt rows that may follow in a step with so many decode rows and `budget` rows left.
std::int32_t Planner::prompt_budget(std::int32_t budget, std::int32_t decode_rows) const {
  if (limits_.max_mixed_rows <= 0 || decode_rows == 0) return budget;
  const std::int32_t prompt_rows = plan_.rows - std::min(plan_.rows, decode_rows_);
  const std::int32_t most = std::max(input_.block_size, limits_.max_mixed_rows - decode_rows);
  return std::clamp(most - prompt_rows, 0, std::max(0, budget));
}

}  // namespace foregate
