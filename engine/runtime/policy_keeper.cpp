#include "engine/runtime/policy_keeper.h"

#include <algorithm>
#include <unordered_map>
#include <utility>
#include <vector>

namespace foregate {
namespace {

PolicyView view_of(const SeqView& view, const Sequence& seq, std::int32_t block_size) {
  PolicyView out;
  out.id = view.id;
  out.priority = seq.request->priority;
  out.mlfq = seq.mlfq;
  out.client = seq.request->client;
  out.tokens = view.tokens;
  out.known = static_cast<std::int32_t>(view.prefix.blocks.size()) * block_size;
  out.running = seq.running;
  out.paused = view.paused;
  out.was_preempted = view.was_preempted;
  return out;
}

}  // namespace

void PolicyKeeper::joined(Sequence& seq) const {
  if (options_.kind == PolicyKind::kMlfq) seq.mlfq = mlfq_joined(options_.mlfq, seq.prompt_tokens());
}

void PolicyKeeper::rank(SequenceTable& sequences, SeqViews& views) {
  if (options_.kind == PolicyKind::kFcfs) return;  // the views are in that order
  std::vector<SeqView> all = views.running;
  all.insert(all.end(), views.waiting.begin(), views.waiting.end());
  std::vector<PolicyView> shown;
  waiting_.clear();
  for (const SeqView& view : all) {
    const Sequence& seq = sequences.at(view.id);
    shown.push_back(view_of(view, seq, views.block_size));
    if (!seq.running && !view.paused && !view.was_preempted) ++waiting_[seq.request->client];
  }
  views.running.clear();
  views.waiting.clear();
  std::int32_t rank = 0;
  for (std::size_t i : policy_order(options_, shown, book_)) {
    all[i].rank = rank++;
    (shown[i].running ? views.running : views.waiting).push_back(all[i]);
  }
}

void PolicyKeeper::ran(const BatchPlan& plan, SequenceTable& sequences, EngineStats& stats) {
  if (options_.kind == PolicyKind::kMlfq) note_levels(plan, sequences, stats);
  if (options_.kind == PolicyKind::kDlpm) charge(plan, sequences, stats);
  for (const PlanEntry& entry : plan.entries) {
    std::int32_t& reached = sequences.at(entry.seq).reached;
    reached = std::max(reached, entry.first_position + entry.rows - entry.draft);
  }
}

void PolicyKeeper::note_levels(const BatchPlan& plan, SequenceTable& sequences, EngineStats& stats) const {
  std::unordered_map<std::uint64_t, std::int32_t> fresh;  // positions computed for the first time
  for (const PlanEntry& entry : plan.entries) {
    const std::int32_t before = std::max(sequences.at(entry.seq).reached, entry.first_position);
    fresh[entry.seq.value] = std::max(0, entry.first_position + entry.rows - entry.draft - before);
  }
  for (Sequence* seq : sequences.all()) {
    const auto ran = fresh.find(seq->id.value);
    const std::int32_t level = seq->mlfq.level;
    if (ran != fresh.end()) {
      seq->mlfq = mlfq_ran(options_.mlfq, seq->mlfq, ran->second);
      stats.policy_demotions += static_cast<std::uint64_t>(seq->mlfq.level - level);
    } else if (!seq->paused && !seq->pending) {
      const bool before = seq->mlfq.promoted_at >= 0;
      seq->mlfq = mlfq_skipped(options_.mlfq, seq->mlfq, static_cast<std::int64_t>(stats.steps));
      stats.policy_promotions += !before && seq->mlfq.promoted_at >= 0 ? 1 : 0;
    }
  }
}

// In the order in which dlpm_order() saw them admitted, so that credit is given out as it assumed.
void PolicyKeeper::charge(const BatchPlan& plan, SequenceTable& sequences, EngineStats& stats) {
  for (const PlanEntry& entry : plan.entries) {
    const Sequence& seq = sequences.at(entry.seq);
    if (!entry.admitted || seq.preemptions > 0) continue;
    const std::uint64_t client = seq.request->client;
    if (book_.of(client) <= 0) {
      std::vector<std::uint64_t> clients;
      for (const auto& [waiting, count] : waiting_) {
        if (count > 0) clients.push_back(waiting);
      }
      stats.policy_refills += static_cast<std::uint64_t>(dlpm_refill(options_.dlpm, clients, book_));
    }
    --waiting_[client];
    const std::int32_t fresh = std::max(1, seq.total_tokens() - entry.first_position);
    dlpm_charge(client, options_.dlpm.prompt_token_cost * fresh, book_);
  }
}

void PolicyKeeper::sampled(const Sequence& seq, std::int32_t tokens) {
  if (options_.kind != PolicyKind::kDlpm) return;
  dlpm_charge(seq.request->client, options_.dlpm.output_token_cost * tokens, book_);
}

void PolicyKeeper::retired(SequenceTable& sequences) {
  if (options_.kind != PolicyKind::kDlpm) return;
  std::vector<std::uint64_t> present;
  for (const Sequence* seq : sequences.all()) present.push_back(seq->request->client);
  std::ranges::sort(present);
  dlpm_forget(present, book_);
}

}  // namespace foregate
