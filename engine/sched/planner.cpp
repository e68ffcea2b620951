#include "engine/sched/planner.h"

#include <algorithm>

#include "engine/kv/block_pool.h"

namespace foregate {

Planner::Planner(const PlanInput& input, const SchedLimits& limits)
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

std::int32_t Planner::need(const SeqView& seq) const {
  return blocks_for(seq.tokens, input_.block_size);
}

Planner::Admission Planner::admission(const SeqView& seq) const {
  Admission a;
  a.shared = static_cast<std::int32_t>(seq.prefix.blocks.size());
  a.fresh = need(seq) - a.shared;
  a.taken = a.fresh + (a.shared > 0 ? holders_.unheld(seq.prefix.blocks) : 0);
  a.first = a.shared * input_.block_size;
  if (seq.saved > a.first + (seq.prefix.tail ? seq.prefix.tail_tokens : 0)) {
    a.first = a.restored = seq.saved;
    return a;
  }
  if (!seq.prefix.tail) return a;
  // The block that is copied must outlive the copy; where its holder goes or there is no room for both, what it
  // holds is computed anew.
  const bool held = holders_.of(*seq.prefix.tail) > 0;
  a.tail = held || (holders_.before(*seq.prefix.tail) == 0 && a.taken < free_);
  if (a.tail) a.first += seq.prefix.tail_tokens;
  if (!a.tail && seq.saved > a.first) a.first = a.restored = seq.saved;
  return a;
}

std::size_t Planner::latest_paused() const {
  for (std::size_t j = state_.size(); j-- > 0;) {
    if (input_.running[j].paused && !state_[j].evicted) return j;
  }
  return state_.size();
}

// Blocks that nobody holds any more once `seq` gives up its own.
std::int32_t Planner::freed(const SeqView& seq, std::int32_t held) {
  if (input_.refs.empty()) return held;
  holders_.add(seq.table, -1);
  return held - seq.blocks + holders_.unheld(seq.table);
}

void Planner::evict(std::size_t running) {
  State& victim = state_[running];
  free_ += freed(input_.running[running], victim.held);
  victim.held = 0;
  victim.evicted = true;
  active_ -= input_.running[running].paused ? 0 : 1;
  plan_.preempted.push_back(input_.running[running].id);
}

void Planner::take(std::size_t running, std::int32_t blocks) {
  free_ -= blocks;
  state_[running].held += blocks;
  state_[running].planned = true;
}

void Planner::take(const SeqView& seq, const Admission& a) {
  free_ -= a.taken + (a.tail && holders_.of(*seq.prefix.tail) == 0 ? 1 : 0);
  if (a.shared > 0) holders_.add(seq.prefix.blocks, 1);
  if (a.tail) {
    holders_.add({&*seq.prefix.tail, 1}, 1);
    tails_.push_back(*seq.prefix.tail);
  }
  admitted_growth_ += std::max(0, seq.max_blocks - need(seq));
  ++active_;
}

std::int32_t Planner::most_rows(const SeqView& seq, std::int32_t first_position, std::int32_t budget) const {
  const std::int32_t rows = std::min({seq.tokens - first_position, budget, std::max(1, seq.max_chunk)});
  return limits_.max_prefill_chunk > 0 ? std::min(rows, limits_.max_prefill_chunk) : rows;
}

PlanEntry& Planner::add_entry(const SeqView& seq, std::int32_t first_position, std::int32_t new_blocks,
                              std::int32_t rows) {
  const std::int32_t remaining = seq.tokens - first_position;
  PlanEntry entry;
  entry.seq = seq.id;
  entry.first_position = first_position;
  entry.rows = rows;
  entry.new_blocks = new_blocks;
  entry.samples = rows == remaining;
  entry.partial = remaining > 1;
  budget_ -= rows;
  plan_.rows += rows;
  plan_.entries.push_back(entry);
  return plan_.entries.back();
}

void Planner::add_admission(const SeqView& seq, const Admission& a, std::int32_t rows) {
  PlanEntry& entry = add_entry(seq, a.first, a.fresh, rows);
  entry.shared_blocks = a.shared;
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
