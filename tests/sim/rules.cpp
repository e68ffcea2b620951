#include "tests/sim/rules.h"

#include <algorithm>

namespace foregate::sim {

std::vector<Rules::Seat> Rules::seats(const PlanInput& input, const BatchPlan& plan) const {
  std::vector<Seat> seats;
  for (const auto& [views, runs] : {std::pair(input.running, true), std::pair(input.waiting, false)}) {
    for (const SeqView& view : views) {
      const auto entry = std::ranges::find(plan.entries, view.id, &PlanEntry::seq);
      const bool evicted = std::ranges::find(plan.preempted, view.id) != plan.preempted.end();
      seats.push_back({&view, entry == plan.entries.end() ? nullptr : &*entry, runs, evicted});
    }
  }
  return seats;
}

void Rules::judge(const PlanInput& input, const BatchPlan& plan) {
  const std::vector<Seat> all = seats(input, plan);
  judge_bounds(all, plan);
  judge_suspects(all);
  judge_yield(all);
  judge_admission(all);
  passed_by_.clear();
  held_back_.clear();
  for (const Seat& seat : all) {
    if (seat.can_run() && seat.entry == nullptr) passed_by_.push_back(seat.view->id);
    if (!seat.view->held_back) continue;
    held_back_.push_back(seat.view->id);
    if (seat.entry != nullptr) ledger_.broke("one that is held back runs");
    if (options_.expert_batch_delay == 0) ledger_.broke("one is held back, and nobody asked for that");
  }
}

void Rules::judge_bounds(const std::vector<Seat>& seats, const BatchPlan& plan) {
  std::int32_t rows = 0;
  for (const PlanEntry& entry : plan.entries) {
    rows += entry.rows;
    if (entry.rows < 1) ledger_.broke("an entry without rows");
  }
  std::size_t seated = 0;
  bool could_run = false;
  for (const Seat& seat : seats) {
    seated += seat.entry != nullptr ? 1 : 0;
    could_run = could_run || seat.can_run();
    const Ledger::Who who = ledger_.of(seat.view->id);
    if (who.client == nullptr || who.sample->finished) return ledger_.broke("a sequence that nobody waits for");
    if (seat.entry == nullptr) continue;
    if (seat.view->pending) ledger_.broke("one runs that should wait for a prefix");
    if (seat.evicted) ledger_.broke("one gives up its blocks and runs");
    const std::int32_t chunk = options_.max_prefill_chunk;
    if (chunk > 0 && seat.entry->rows - seat.entry->draft > chunk) ledger_.broke("a chunk that is too long");
  }
  if (seated != plan.entries.size()) ledger_.broke("a sequence twice in one step, or one that is not there");
  if (rows != plan.rows || rows > options_.max_num_batched_tokens) ledger_.broke("more rows than a step may have");
  if (static_cast<std::int32_t>(seated) > options_.max_num_seqs) ledger_.broke("more sequences than a step may have");
  if (could_run && plan.empty()) ledger_.broke("nothing runs, though something could");
}

// INV-12: whoever was in a failed step runs alone.
void Rules::judge_suspects(const std::vector<Seat>& seats) {
  std::size_t seated = 0;
  bool suspects = false;
  bool runs = false;
  for (const Seat& seat : seats) {
    const Ledger::Who who = ledger_.of(seat.view->id);
    if (who.client == nullptr) return;
    const bool suspect = who.sample->suspect && !who.client->paused;
    suspects = suspects || suspect;
    seated += seat.entry != nullptr ? 1 : 0;
    runs = runs || (suspect && seat.entry != nullptr);
  }
  if (suspects && (seated != 1 || !runs)) ledger_.broke("a suspect of a failed step does not run alone");
}

// Lower is better. Levels of mlfq are the engine's own; what they promise is judged by passed_by_.
std::int64_t Rules::rank(const Seat& seat) const {
  const auto age = static_cast<std::int64_t>(seat.view->id.value);
  switch (options_.policy.kind) {
    case PolicyKind::kPriority: {
      const Client* client = ledger_.of(seat.view->id).client;
      return client == nullptr ? age : client->request.priority * 1'000'000LL + age;
    }
    case PolicyKind::kMlfq: return seat.view->rank;
    default: return age;
  }
}

// INV-8: nobody who could run gives its blocks to one of worse rank.
void Rules::judge_yield(const std::vector<Seat>& seats) {
  const bool ranked = takes_from_running(options_.policy.kind);
  for (const Seat& victim : seats) {
    if (!victim.evicted) continue;
    if (!victim.runs) return ledger_.broke("one gives up blocks that it does not have");
    if (victim.view->paused) continue;
    const bool to_better = std::ranges::any_of(
        seats, [&](const Seat& other) { return other.entry != nullptr && rank(other) < rank(victim); });
    const bool worse_stays = std::ranges::any_of(seats, [&](const Seat& other) {
      return other.runs && !other.evicted && !other.view->paused && rank(other) > rank(victim);
    });
    // Where ranks do not take from running ones, the youngest goes first, and may have to make way for nobody else.
    if (ranked ? !to_better : worse_stays) return ledger_.broke("one gives up its blocks to a worse rank");
  }
}

void Rules::judge_admission(const std::vector<Seat>& seats) {
  const PolicyKind kind = options_.policy.kind;
  if (kind != PolicyKind::kFcfs && kind != PolicyKind::kPriority) return;
  std::int64_t worst = -1;
  for (const Seat& seat : seats) {
    if (!seat.runs && seat.entry != nullptr) worst = std::max(worst, rank(seat));
  }
  for (const Seat& seat : seats) {
    if (seat.runs || !seat.can_run() || seat.entry != nullptr) continue;
    if (rank(seat) < worst) return ledger_.broke("one is admitted before its turn");
  }
}

// mlfq: the bound of policy_mlfq.h. Steps in which rows are computed again count against nobody's quantum.
void Rules::step_done(const PlanInput& input, const BatchPlan& plan) {
  static_cast<void>(input);
  for (const PlanEntry& entry : plan.entries) {
    Sample& sample = *ledger_.of(entry.seq).sample;
    sample.skipped = sample.held_back = 0;
  }
  for (SeqId id : held_back_) {
    if (++ledger_.of(id).sample->held_back > options_.expert_batch_delay) {
      return ledger_.broke("one is held back for longer than the bound");
    }
  }
  if (options_.policy.kind != PolicyKind::kMlfq) return;
  const std::int32_t most = options_.max_num_seqs + options_.max_num_queued_reqs;
  const std::int32_t bound = options_.policy.mlfq.promote_after +
                             most * (options_.policy.mlfq.quantum + max_positions_) * (1 + options_.expert_batch_delay);
  for (SeqId id : passed_by_) {
    if (++ledger_.of(id).sample->skipped > bound) return ledger_.broke("one is passed over for longer than the bound");
  }
}

}  // namespace foregate::sim
