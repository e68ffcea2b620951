#include <algorithm>
#include <utility>

#include "engine/sched/planner.h"

namespace foregate {

BatchPlan Planner::by_rank() {
  const std::vector<Member> members = best();
  for (auto member = members.begin(); member != members.end(); ++member) {
    if (member->runs && state_[member->running].evicted) continue;
    const auto decode_rows = std::count_if(member + 1, members.end(), [this](const Member& after) {
      return after.decodes() && !state_[after.running].evicted;
    });
    plan_member(*member, static_cast<std::int32_t>(decode_rows));
  }
  add_drafts();
  std::stable_partition(plan_.entries.begin(), plan_.entries.end(),
                        [](const PlanEntry& e) { return !e.partial && !e.admitted; });
  return std::move(plan_);
}

// Whose step it is. No more than there are rows, so that each of them gets one.
std::vector<Planner::Member> Planner::best() const {
  std::vector<Member> members;
  for (std::size_t i = 0; i < input_.running.size(); ++i) {
    const SeqView& seq = input_.running[i];
    if (!seq.paused && !seq.held_back) members.push_back({&seq, i, true});
  }
  for (const SeqView& seq : input_.waiting) {
    if (!seq.paused && !seq.pending) members.push_back({&seq, 0, false});
  }
  std::ranges::sort(members, {}, [](const Member& m) { return m.seq->rank; });
  const auto most = static_cast<std::size_t>(std::min(limits_.max_num_seqs, limits_.max_num_batched_tokens));
  if (members.size() > most) members.resize(most);
  return members;
}

// `decode_rows_after`: rows kept for those of worse rank that decode.
void Planner::plan_member(const Member& member, std::int32_t decode_rows_after) {
  const SeqView& seq = *member.seq;
  if (member.decodes()) {
    if (!make_room_ranked(member, 1)) return;
    const Blocks more = more_for(member.running, 1);
    take(member.running, more);
    add_entry(seq, seq.computed, more, 1);
    ++decode_rows_;
    return;
  }
  if (!member.runs && admission_closed_) return;
  const std::int32_t budget = prompt_budget(budget_ - decode_rows_after, decode_rows_ + decode_rows_after);
  if (budget <= 0) {
    admission_closed_ = admission_closed_ || !member.runs;
    return;
  }
  if (!make_room_ranked(member, budget)) {
    admission_closed_ = admission_closed_ || !member.runs;
    return;
  }
  if (member.runs) {
    const std::int32_t rows = rows_in_room(member.running, most_rows(seq, seq.computed, budget));
    const Blocks more = more_for(member.running, rows);
    take(member.running, more);
    add_entry(seq, seq.computed, more, rows);
    return;
  }
  const Admission a = admission(seq, budget);
  take(seq, a);
  add_admission(seq, a);
}

// Whether somebody admitted in this plan starts with a copy of a block of `seq`, which must stay until then.
bool Planner::holds_tail(const SeqView& seq) const {
  const auto holds = [](std::span<const BlockId> table, const std::vector<BlockId>& tails) {
    return std::ranges::any_of(tails, [&](BlockId tail) { return std::ranges::find(table, tail) != table.end(); });
  };
  return holds(seq.table, tails_) || holds(seq.window_table, window_tails_);
}

// The holder to take blocks from for somebody of this rank: a paused one, else the worst; state_.size(): none.
std::size_t Planner::worst_holder(std::int32_t better_than) const {
  std::size_t worst = state_.size();
  for (std::size_t j = state_.size(); j-- > 0;) {
    const SeqView& seq = input_.running[j];
    if (state_[j].evicted || state_[j].planned || holds_tail(seq)) continue;
    if (seq.paused) return j;
    if (worst == state_.size() && seq.rank > better_than) worst = j;
  }
  return worst;
}

bool Planner::fits_ranked(const SeqView& seq, const Admission& a) const {
  Blocks wanted = a.taken;
  if (seq.was_preempted) {
    wanted += growth_of(seq, a);
    wanted += admitted_growth_;
    for (std::size_t i = 0; i < state_.size(); ++i) {
      const SeqView& other = input_.running[i];
      if (!state_[i].evicted && !other.paused && other.rank < seq.rank) wanted += growth_of(i);
    }
  }
  return wanted.within(free_);
}

// True when the member can have its blocks for a row, or for an admission with `budget` rows, after taking some from
// worse ranks if need be; else nothing has changed.
bool Planner::make_room_ranked(const Member& member, std::int32_t budget) {
  const SeqView& seq = *member.seq;
  const auto has_room = [&] {
    return member.runs ? more_for(member.running, 1).within(free_) : fits_ranked(seq, admission(seq, budget));
  };
  if (has_room()) return true;
  Before kept = before();
  while (!has_room()) {
    const std::size_t victim = worst_holder(seq.rank);
    if (victim == state_.size()) {
      take_back(std::move(kept));
      return false;
    }
    evict(victim);
  }
  return true;
}

Planner::Before Planner::before() const {
  return {holders_, window_holders_, state_, free_, active_, plan_.preempted.size()};
}

void Planner::take_back(Before before) {
  holders_ = std::move(before.holders);
  window_holders_ = std::move(before.window_holders);
  state_ = std::move(before.state);
  free_ = before.free;
  active_ = before.active;
  plan_.preempted.resize(before.preempted);
}

}  // namespace foregate
