#include "engine/runtime/step_builder.h"

#include <algorithm>

#include "engine/runtime/accept.h"
#include "engine/spec/draft_tree.h"

namespace foregate {
namespace {

// First position of the entry whose logits are wanted: for prompt log-probabilities every row that
// predicts a prompt token not yet scored, else the row to sample from, and those of its draft.
std::int32_t first_logit_position(const PlanEntry& entry, const Sequence& seq, bool prove_chunks) {
  const std::int32_t end = entry.first_position + entry.rows;
  std::int32_t first = entry.samples ? end - 1 - entry.draft : prove_chunks ? end - 1 : end;
  if (seq.wants_prompt_logprobs()) {
    const auto scored = std::max<std::int32_t>(1, static_cast<std::int32_t>(seq.prompt_logprobs.size()));
    if (scored < seq.prompt_tokens()) first = std::min(first, std::max(entry.first_position, scored - 1));
  }
  return first;
}

std::int64_t slot_of(const std::int32_t* table, std::int32_t position, std::int32_t block_size) {
  return static_cast<std::int64_t>(table[position / block_size]) * block_size + position % block_size;
}

void add_rows(const PlanEntry& entry, const Sequence& seq, std::int32_t block_size, const std::int32_t* table,
              StepIo& io) {
  const std::vector<std::int32_t> depths = depths_of(tree_of(entry, seq));
  for (std::int32_t i = 0; i < entry.rows; ++i) {
    const std::int32_t place = entry.first_position + i;
    const auto at = static_cast<std::size_t>(place);
    io.tokens.push_back(at < seq.tokens.size() ? seq.tokens[at] : seq.draft[at - seq.tokens.size()]);
    const bool branched = i > 0 && !depths.empty();
    io.positions.push_back(branched ? entry.first_position + depths[static_cast<std::size_t>(i - 1)] : place);
    io.slot_mapping.push_back(slot_of(table, place, block_size));
  }
}

// Row i of a draft has slot number i behind the newest token's, whatever its place in the tree. The first branch is
// therefore where a chain would be; others have the slots of their rows and of their ancestors' as a tail.
void add_branches(const SeqSpan& span, std::span<const std::int32_t> parents, std::int32_t block_size,
                  std::vector<SeqSpan>& branches, std::vector<std::int64_t>& slots) {
  if (parents.empty()) {
    branches.push_back(span);
    return;
  }
  const std::vector<std::int32_t> depths = depths_of(parents);
  const auto rows = static_cast<std::int32_t>(parents.size()) + 1;
  for (std::int32_t row = 0; row < rows;) {
    std::int32_t end = row + 1;  // of the rows that follow one another
    while (end < rows && parents[static_cast<std::size_t>(end - 1)] == end - 2) ++end;
    SeqSpan branch = span;
    branch.first_row = span.first_row + row;
    branch.rows = end - row;
    if (row > 0) {
      branch.first_position = span.first_position + depths[static_cast<std::size_t>(row - 1)];
      std::vector<std::int32_t> way;  // rows that are not where a chain would have them, the deepest first
      for (std::int32_t at = end - 1; at > 0 && depths[static_cast<std::size_t>(at - 1)] != at;) {
        way.push_back(at);
        at = parents[static_cast<std::size_t>(at - 1)] + 1;
      }
      branch.tail_first = branch.first_position + branch.rows - static_cast<std::int32_t>(way.size());
      branch.tail_slots = slots.data() + slots.size();
      for (auto at = way.rbegin(); at != way.rend(); ++at) {
        slots.push_back(span.slot(span.first_position + *at, block_size));
      }
    }
    branches.push_back(branch);
    row = end;
  }
}

void add_trees(const BatchPlan& plan, SequenceTable& sequences, std::int32_t block_size, StepIo& io) {
  const auto tree = [&](std::size_t i) { return tree_of(plan.entries[i], sequences.at(plan.entries[i].seq)); };
  std::size_t most = 0;  // slots of all tails: spans point at them, so they stay where they are
  for (std::size_t i = 0; i < plan.entries.size(); ++i) {
    const std::size_t nodes = tree(i).size();
    most += nodes * nodes;
  }
  if (most == 0) return;
  io.branch_slots.reserve(most);
  io.window_branch_slots.reserve(io.window_seqs.empty() ? 0 : most);
  for (std::size_t i = 0; i < plan.entries.size(); ++i) {
    add_branches(io.seqs[i], tree(i), block_size, io.branches, io.branch_slots);
    if (io.window_seqs.empty()) continue;
    add_branches(io.window_seqs[i], tree(i), block_size, io.window_branches, io.window_branch_slots);
  }
}

// Where each entry's table begins in `ids`.
std::vector<std::size_t> append_tables(const BatchPlan& plan, SequenceTable& sequences, const KvTxn& txn,
                                       BlockTable Sequence::*member, std::int32_t block_size,
                                       std::vector<std::int32_t>& ids) {
  std::vector<std::size_t> starts;
  for (const PlanEntry& entry : plan.entries) {
    starts.push_back(ids.size());
    txn.append_view(sequences.at(entry.seq).*member, ids);
    const auto blocks = static_cast<std::int64_t>(ids.size() - starts.back());
    CHECK(blocks * block_size >= entry.first_position + entry.rows);  // INV-4: every row has a slot of its own
  }
  return starts;
}

void add_window(const BatchPlan& plan, const std::vector<std::size_t>& starts, std::int32_t block_size, StepIo& io) {
  for (std::size_t i = 0; i < plan.entries.size(); ++i) {
    const std::int32_t* table = io.window_block_ids.data() + starts[i];
    SeqSpan span = io.seqs[i];
    span.block_table = table;
    io.window_seqs.push_back(span);
    for (std::int32_t r = 0; r < span.rows; ++r) {
      io.window_slots.push_back(slot_of(table, span.first_position + r, block_size));
    }
  }
}

}  // namespace

void StepIo::clear() {
  tokens.clear();
  positions.clear();
  slot_mapping.clear();
  block_ids.clear();
  seqs.clear();
  window_slots.clear();
  window_block_ids.clear();
  window_seqs.clear();
  requests.clear();
  drafted.clear();
  places.clear();
  branches.clear();
  window_branches.clear();
  branch_slots.clear();
  window_branch_slots.clear();
  logit_rows.clear();
  logit_ranges.clear();
  rules.clear();
  hidden.clear();
}

void build_step(const BatchPlan& plan, SequenceTable& sequences, const KvStep& step, const KvPools& pools,
                bool prove_chunks, StepIo& io) {
  io.clear();
  const std::int32_t block_size = pools.main.block_size();
  const bool drafts = std::ranges::any_of(plan.entries, [](const PlanEntry& entry) { return entry.draft > 0; });
  const std::vector<std::size_t> table_starts =
      append_tables(plan, sequences, step.main, &Sequence::blocks, block_size, io.block_ids);
  // Pointers into block_ids only now that it no longer grows.
  for (std::size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    const Sequence& seq = sequences.at(entry.seq);
    const std::int32_t* table = io.block_ids.data() + table_starts[i];
    const auto first_row = static_cast<std::int32_t>(io.tokens.size());
    io.seqs.push_back({first_row, entry.rows, entry.first_position, table});
    io.requests.push_back(seq.request->id.value);
    if (drafts) io.drafted.push_back(entry.draft);
    add_rows(entry, seq, block_size, table, io);
    const std::int32_t first = first_logit_position(entry, seq, prove_chunks);
    const std::int32_t end = entry.first_position + entry.rows;
    io.logit_ranges.push_back({static_cast<std::int32_t>(io.logit_rows.size()), end - first, first});
    for (std::int32_t p = first; p < end; ++p) io.logit_rows.push_back(first_row + p - entry.first_position);
  }
  if (pools.grouped()) {
    add_window(plan,
               append_tables(plan, sequences, step.window, &Sequence::window_blocks, block_size, io.window_block_ids),
               block_size, io);
  }
  if (drafts) add_trees(plan, sequences, block_size, io);
}

}  // namespace foregate
