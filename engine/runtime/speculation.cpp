#include "engine/runtime/speculation.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/kv/kv_txn.h"
#include "engine/runtime/accept.h"
#include "engine/runtime/engine_metrics.h"
#include "engine/spec/draft_tree.h"

namespace foregate {
namespace {

// Rows that a sequence may still use: the last token of an output is never an input, so it is never drafted.
std::int32_t room(const Sequence& seq) {
  return seq.request->sampling.max_tokens - seq.output_tokens() - 1;
}

// Of the tokens of a tree, those in `order` are kept, in that order; parents come first.
void take_in_order(std::span<const std::int32_t> order, Draft& draft) {
  std::vector<std::int32_t> now(draft.tokens.size(), -1);
  Draft taken;
  for (const std::int32_t at : order) {
    const auto i = static_cast<std::size_t>(at);
    now[i] = static_cast<std::int32_t>(taken.tokens.size());
    taken.tokens.push_back(draft.tokens[i]);
    if (!draft.sure.empty()) taken.sure.push_back(draft.sure[i]);
    taken.parents.push_back(draft.parents[i] < 0 ? -1 : now[static_cast<std::size_t>(draft.parents[i])]);
  }
  draft = std::move(taken);
}

// Depth first, so that the branch that was made first has the rows of a chain.
void sort_tree(Draft& draft) {
  std::vector<std::int32_t> all(draft.tokens.size());
  std::iota(all.begin(), all.end(), 0);
  take_in_order(depth_first(all, draft.parents), draft);
}

// Decodes, and may have several rows.
bool may_draft(const Sequence& seq, const SeqView& view) {
  return !view.paused && !view.held_back && !seq.plain_only && !seq.wants_prompt_logprobs() &&
         seq.total_tokens() - seq.computed == 1 && room(seq) > 0;
}

std::int32_t decodes(const SeqViews& views) {
  return static_cast<std::int32_t>(std::ranges::count_if(views.running, [](const SeqView& view) {
    return !view.paused && !view.held_back && view.tokens - view.computed == 1;
  }));
}

}  // namespace

Speculation::Speculation(SpeculationParts parts, const Clock& clock, Metrics* metrics, const std::string& model_name)
    : drafter_(std::move(parts.drafter)),
      clock_(clock),
      most_(parts.tree.empty() ? parts.num_speculative_tokens : parts.tree.depth()),
      tree_(std::move(parts.tree)) {
  if (!enabled()) return;
  if (parts.adaptive) controller_.emplace(most_, tree_.widths());
  warm_up();
  figures_.accepted_at.assign(static_cast<std::size_t>(most_), 0);
  series_.accepted_at.resize(static_cast<std::size_t>(most_));
  if (metrics != nullptr) name_series(*metrics, model_name);
}

void Speculation::name_series(Metrics& metrics, const std::string& model_name) {
  const Labels labels = vllm_labels(model_name), own = {{"model_name", model_name}};
  series_.drafts.counter =
      &metrics.counter("vllm:spec_decode_num_drafts", "Drafts that a step computed rows for.", labels);
  series_.draft_tokens.counter =
      &metrics.counter("vllm:spec_decode_num_draft_tokens", "Drafted tokens that a step computed rows for.", labels);
  series_.accepted_tokens.counter =
      &metrics.counter("vllm:spec_decode_num_accepted_tokens", "Drafted tokens that were accepted.", labels);
  series_.gated.counter =
      &metrics.counter("foregate_spec_gated_turns", "Turns in which no draft was expected to gain.", own);
  series_.probes.counter = &metrics.counter(
      "foregate_spec_probes", "Turns with drafts that were not expected to gain, to measure them anew.", own);
  series_.spoilt.counter = &metrics.counter(
      "foregate_spec_spoilt_drafts", "Drafts beside which a row was not finite; their samples get no more.", own);
  if (drafter_->vocabulary() > 0) {
    metrics.gauge("foregate_spec_draft_vocabulary", "Tokens that drafts are made of, where they are not all.", own)
        .set(drafter_->vocabulary());
  }
  if (!tree_.empty()) {
    series_.trees.counter = &metrics.counter("foregate_spec_trees", "Drafts that branch.", own);
    series_.branches.counter = &metrics.counter(
        "foregate_spec_branches_accepted", "Drafts of which another branch than the first one stood furthest.", own);
    series_.moved.counter = &metrics.counter("foregate_spec_positions_moved",
                                             "Positions whose keys and values were copied because of that.", own);
  }
  for (std::size_t i = 0; i < series_.accepted_at.size(); ++i) {
    Labels with_position = labels;
    with_position["position"] = std::to_string(i);
    series_.accepted_at[i].counter =
        &metrics.counter("vllm:spec_decode_num_accepted_tokens_per_pos",
                         "Drafted tokens that were accepted, by place in the draft.", with_position);
  }
}

// The quickest of a few times is what a row takes.
void Speculation::warm_up() {
  constexpr int kTimes = 4;
  TimeNs least = 0;
  std::int32_t rows = 0;
  for (int i = 0; i < kTimes; ++i) {
    const TimeNs began = clock_.now();
    rows = drafter_->warm_up();
    const TimeNs took = clock_.now() - began;
    least = i == 0 ? took : std::min(least, took);
  }
  if (controller_ && rows > 0) controller_->note_draft(0, seconds_between(0, least), rows);
}

void Speculation::propose(SequenceTable& sequences, SeqViews& views, Model& model) {
  drafting_ = 0;
  foreseen_.clear();
  for (const SeqView& view : views.running) {
    if (!view.paused && view.tokens - view.computed == 1) foreseen_.push_back(sequences.at(view.id).tokens.back());
  }
  if (!foreseen_.empty()) model.foresee(foreseen_);
  if (!enabled()) return;
  draft(sequences, views);
  foreseen_.clear();
  for (const SeqView& view : views.running) {
    const std::vector<Token>& drafted = sequences.at(view.id).draft;
    foreseen_.insert(foreseen_.end(), drafted.begin(), drafted.end());
  }
  if (!foreseen_.empty()) model.foresee(foreseen_);
}

void Speculation::draft(SequenceTable& sequences, SeqViews& views) {
  asks_.clear();
  for (SeqView& view : views.running) {
    Sequence& seq = sequences.at(view.id);
    seq.draft.clear();
    seq.draft_sure.clear();
    seq.draft_parents.clear();
    if (!may_draft(seq, view)) continue;
    DraftAsk ask{seq.id, seq.request->id, seq.index, seq.tokens, seq.prompt_tokens(), std::min(most_, room(seq))};
    ask.tree = tree_.empty() ? nullptr : &tree_;
    asks_.push_back(ask);
  }
  const bool adaptive = controller_.has_value();
  const bool instant = drafter_->instant();
  if (adaptive && !instant) choose_lengths(views);
  if (asks_.empty()) return;
  drafts_.assign(asks_.size(), {});
  const TimeNs began = clock_.now();
  drafter_->propose(asks_, drafts_);
  drafting_ = clock_.now() - began;
  if (adaptive) {
    std::int32_t longest = 0;  // runs of the drafter, or tokens where those cost nothing apart
    for (const Draft& draft : drafts_) {
      const std::vector<std::int32_t> depths = depths_of(draft.parents);
      const auto tokens = static_cast<std::int32_t>(draft.tokens.size());
      longest = std::max(longest, instant || depths.empty() ? tokens : *std::ranges::max_element(depths));
    }
    choose_parts(views, instant);
    controller_->note_draft(longest, seconds_between(0, drafting_), drafter_->rows_missed());
  }
  for (std::size_t i = 0; i < asks_.size(); ++i) {
    if (BUG_IF(!sound(asks_[i], drafts_[i]))) continue;
    if (!drafts_[i].parents.empty()) sort_tree(drafts_[i]);
    std::ranges::find(views.running, asks_[i].seq, &SeqView::id)->draft =
        static_cast<std::int32_t>(drafts_[i].tokens.size());
    Sequence& seq = sequences.at(asks_[i].seq);
    seq.draft = std::move(drafts_[i].tokens);
    seq.draft_sure = std::move(drafts_[i].sure);
    seq.draft_parents = std::move(drafts_[i].parents);
  }
}

bool Speculation::sound(const DraftAsk& ask, const Draft& draft) const {
  if (draft.parents.empty()) return std::ssize(draft.tokens) <= ask.most;
  if (draft.parents.size() != draft.tokens.size() || draft.tokens.size() > tree_.nodes.size()) return false;
  for (std::size_t i = 0; i < draft.parents.size(); ++i) {
    if (draft.parents[i] < -1 || draft.parents[i] >= static_cast<std::int32_t>(i)) return false;
    if (child_that_is(draft.tokens, draft.parents, draft.parents[i], draft.tokens[i]) != static_cast<std::int32_t>(i)) {
      return false;
    }
  }
  return std::ranges::max(depths_of(draft.parents)) <= ask.most;
}

// Cuts what is asked for to what is expected to gain.
void Speculation::choose_lengths(const SeqViews& views) {
  std::vector<DraftController::Candidate> candidates;
  for (const DraftAsk& ask : asks_) candidates.push_back({.seq = ask.seq, .most = ask.most});
  controller_->choose(candidates, decodes(views));
  std::vector<DraftAsk> chosen;
  for (std::size_t i = 0; i < asks_.size(); ++i) {
    asks_[i].most = candidates[i].depth;
    asks_[i].least_probability = controller_->least_probability();
    if (asks_[i].most > 0) chosen.push_back(asks_[i]);
  }
  asks_ = std::move(chosen);
}

// Cuts drafts that are there to what is worth its rows.
void Speculation::choose_parts(const SeqViews& views, bool instant) {
  std::vector<DraftController::Candidate> candidates;
  for (std::size_t i = 0; i < asks_.size(); ++i) {
    candidates.push_back({.seq = asks_[i].seq,
                          .most = static_cast<std::int32_t>(drafts_[i].tokens.size()),
                          .sure = drafts_[i].sure,
                          .parents = drafts_[i].parents});
  }
  if (instant) {
    controller_->choose(candidates, decodes(views));
  } else {
    controller_->trim(candidates, decodes(views));
  }
  for (std::size_t i = 0; i < asks_.size(); ++i) {
    const auto depth = static_cast<std::size_t>(candidates[i].depth);
    if (!drafts_[i].parents.empty()) {
      take_in_order(std::span(candidates[i].order).first(std::min(depth, candidates[i].order.size())), drafts_[i]);
      continue;
    }
    drafts_[i].tokens.resize(std::min(drafts_[i].tokens.size(), depth));
    drafts_[i].sure.resize(std::min(drafts_[i].sure.size(), depth));
  }
}

void Speculation::ask_for_hidden(StepIo& io) const {
  if (enabled()) io.hidden.resize(io.tokens.size() * static_cast<std::size_t>(drafter_->hidden_size()));
}

void Speculation::note_rows(const PlanEntry& entry, const Sequence& seq, const StepIo& io, std::size_t index) {
  if (io.hidden.empty() || seq.plain_only) return;
  const auto size = static_cast<std::size_t>(drafter_->hidden_size());
  const auto first = static_cast<std::size_t>(io.seqs[index].first_row);
  const auto rows = static_cast<std::size_t>(std::clamp(seq.computed - entry.first_position, 0, entry.rows));
  drafter_->computed(seq.id, entry.first_position, std::span(io.hidden).subspan(first * size, rows * size));
}

void Speculation::note_turn(const BatchPlan& plan, TimeNs took) {
  if (!controller_) return;
  const bool decodes_only = std::ranges::all_of(plan.entries, [](const PlanEntry& entry) {
    return entry.samples && entry.rows == 1 + entry.draft && !entry.admitted;
  });
  if (decodes_only) controller_->note_step(plan.rows, seconds_between(drafting_, took));
}

std::int32_t drafts_that_stood(const PlanEntry& entry, const Sequence& seq) {
  return entry.draft == 0 ? 0 : std::max(0, seq.computed - entry.first_position - 1);
}

void Speculation::settle_tree(const PlanEntry& entry, Sequence& seq, const KvPools& pools, KvCache& cache) {
  const std::int32_t accepted = drafts_that_stood(entry, seq);
  const std::int32_t size = pools.main.block_size();
  bool moved = false;
  seq.draft_path.resize(std::min(seq.draft_path.size(), static_cast<std::size_t>(accepted)));
  for (std::size_t i = 0; i < seq.draft_path.size(); ++i) {
    const std::int32_t from = entry.first_position + 1 + seq.draft_path[i];
    const std::int32_t to = entry.first_position + 1 + static_cast<std::int32_t>(i);
    if (from == to) continue;
    // Rows come after those of the tokens that they follow: what is still to be moved is never written over.
    const auto move = [&](const BlockTable& table, KvGroup group) {
      const auto block = [&](std::int32_t p) { return table.blocks()[static_cast<std::size_t>(p / size)]; };
      cache.copy_position(block(from), from % size, block(to), to % size, group);
    };
    move(seq.blocks, KvGroup::kMain);
    if (pools.grouped()) move(seq.window_blocks, KvGroup::kWindow);
    ++figures_.positions_moved;
    moved = true;
  }
  figures_.branches_accepted += moved ? 1 : 0;
}

void Speculation::note_places(const PlanEntry& entry, const Sequence& seq, StepIo& io) {
  const bool tree = !tree_of(entry, seq).empty();
  const std::int32_t accepted = drafts_that_stood(entry, seq);
  const std::size_t first = io.places.size();
  for (std::int32_t i = 1; i <= entry.draft; ++i) io.places.push_back(tree || i > accepted ? 0 : i);
  if (!tree) return;
  for (std::size_t i = 0; i < seq.draft_path.size(); ++i) {
    io.places[first + static_cast<std::size_t>(seq.draft_path[i])] = static_cast<std::int32_t>(i) + 1;
  }
}

void Speculation::settle(const PlanEntry& entry, Sequence& seq, KvPools& pools) {
  if (entry.draft == 0) return;
  const std::int32_t accepted = drafts_that_stood(entry, seq);
  ++figures_.drafts;
  figures_.draft_tokens += static_cast<std::uint64_t>(entry.draft);
  figures_.accepted_tokens += static_cast<std::uint64_t>(accepted);
  for (std::int32_t i = 0; i < accepted; ++i) ++figures_.accepted_at[static_cast<std::size_t>(i)];
  const std::span<const std::int32_t> tree = tree_of(entry, seq);
  if (!tree.empty()) {
    ++figures_.trees;
    figures_.tree_nodes += static_cast<std::uint64_t>(entry.draft);
    figures_.tree_nodes_accepted += static_cast<std::uint64_t>(accepted);
  }
  if (controller_ && tree.empty()) controller_->note_verdict(seq.id, entry.draft, accepted, seq.draft_sure);
  if (controller_ && !tree.empty()) controller_->note_tree_verdict(seq.id, tree, seq.draft_path, seq.draft_sure);
  seq.draft.clear();
  seq.draft_sure.clear();
  seq.draft_parents.clear();
  seq.draft_path.clear();
  const std::int32_t places = blocks_for(seq.computed, pools.main.block_size());
  KvTxn::truncate(pools.main, seq.blocks, places);
  KvTxn::truncate(pools.window, seq.window_blocks, places);
}

bool Speculation::takes_blame(const BatchPlan& plan, SequenceTable& sequences) const {
  bool any = false;
  for (const PlanEntry& entry : plan.entries) {
    if (entry.draft == 0) continue;
    sequences.at(entry.seq).plain_only = any = true;
  }
  return any;
}

void Speculation::spoilt(Sequence& seq) {
  seq.plain_only = true;
  ++figures_.spoilt;
}

void Speculation::forget(SeqId seq) {
  if (enabled()) drafter_->forget(seq);
  if (controller_) controller_->forget(seq);
}

void Speculation::figures(EngineStats& stats) {
  if (!enabled()) return;
  if (controller_) {
    figures_.gated = controller_->gated();
    figures_.probes = controller_->probes();
  }
  stats.speculation = figures_;
  if (series_.drafts.counter == nullptr) return;
  series_.gated.follow(static_cast<double>(figures_.gated));
  series_.probes.follow(static_cast<double>(figures_.probes));
  series_.spoilt.follow(static_cast<double>(figures_.spoilt));
  if (!tree_.empty()) {
    series_.trees.follow(static_cast<double>(figures_.trees));
    series_.branches.follow(static_cast<double>(figures_.branches_accepted));
    series_.moved.follow(static_cast<double>(figures_.positions_moved));
  }
  series_.drafts.follow(static_cast<double>(figures_.drafts));
  series_.draft_tokens.follow(static_cast<double>(figures_.draft_tokens));
  series_.accepted_tokens.follow(static_cast<double>(figures_.accepted_tokens));
  for (std::size_t i = 0; i < figures_.accepted_at.size(); ++i) {
    series_.accepted_at[i].follow(static_cast<double>(figures_.accepted_at[i]));
  }
}

}  // namespace foregate
