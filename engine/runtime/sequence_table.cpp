#include "engine/runtime/sequence_table.h"

#include <algorithm>

namespace foregate {

LiveSample live_sample(const Sequence& seq) {
  LiveSample live;
  live.request = seq.request->id;
  live.index = seq.index;
  const bool decodes = seq.computed >= seq.prompt_tokens() && seq.output_tokens() > 0;
  live.state = seq.paused    ? SampleState::kPaused
               : seq.running ? (decodes ? SampleState::kDecode : SampleState::kPrefill)
               : seq.pending ? SampleState::kDeferred
                             : SampleState::kWaiting;
  live.prompt_tokens = seq.prompt_tokens();
  live.cached_tokens = std::max(0, seq.cached_tokens);
  live.computed = seq.computed;
  live.generated = seq.output_tokens();
  live.kv_blocks = static_cast<std::int32_t>(seq.blocks.held().size());
  live.preemptions = seq.preemptions;
  live.queued_at = seq.queued_at;
  live.first_run_at = seq.first_run_at;
  return live;
}

Sequence& SequenceTable::add(std::unique_ptr<Sequence> sequence) {
  sequence->id = SeqId{next_++};
  by_request_[sequence->request->id].push_back(sequence->id);
  return *sequences_.emplace(sequence->id, std::move(sequence)).first->second;
}

Sequence& SequenceTable::at(SeqId id) {
  const auto it = sequences_.find(id);
  CHECK(it != sequences_.end());
  return *it->second;
}

std::vector<Sequence*> SequenceTable::of_request(RequestId id) {
  std::vector<Sequence*> found;
  const auto it = by_request_.find(id);
  if (it == by_request_.end()) return found;
  for (SeqId seq : it->second) found.push_back(&at(seq));
  return found;
}

std::vector<Sequence*> SequenceTable::all() {
  std::vector<Sequence*> found;
  for (auto& [id, sequence] : sequences_) found.push_back(sequence.get());
  return found;
}

void SequenceTable::remove(SeqId id) {
  const auto it = sequences_.find(id);
  CHECK(it != sequences_.end());
  const auto request = by_request_.find(it->second->request->id);
  std::erase(request->second, id);
  if (request->second.empty()) by_request_.erase(request);
  sequences_.erase(it);
}

SeqViews SequenceTable::views(std::int32_t block_size, std::int32_t max_logit_rows) const {
  const Sequence* alone = nullptr;
  for (const auto& [id, sequence] : sequences_) {
    if (alone == nullptr && sequence->suspect && !sequence->paused) alone = sequence.get();
  }
  SeqViews views;
  views.block_size = block_size;
  for (const auto& [id, sequence] : sequences_) {
    const Sequence& s = *sequence;
    SeqView view;
    view.paused = s.paused || (alone != nullptr && alone != &s);
    if (view.paused && !s.running) continue;  // nobody plans it, and of readers that stopped there may be many
    view.id = id;
    view.tokens = s.total_tokens();
    view.computed = s.computed;
    view.blocks = s.blocks.size();
    view.table = s.blocks.held();
    view.window_blocks = s.window_blocks.size();
    view.window_table = s.window_blocks.held();
    view.saved_window_first = s.saved_window_first;
    view.max_blocks = blocks_for(max_positions(*s.request), block_size);
    if (s.wants_prompt_logprobs()) view.max_chunk = max_logit_rows;
    view.was_preempted = s.preemptions > 0;
    view.saved = s.saved;
    (s.running ? views.running : views.waiting).push_back(view);
  }
  return views;
}

bool SequenceTable::runnable() const {
  return std::any_of(sequences_.begin(), sequences_.end(), [](const auto& entry) { return !entry.second->paused; });
}

namespace {

// Blocks for what is computed, for all tokens at most, and of those that the next row reads none is given up.
bool window_fits(const Sequence& s, std::int32_t block_size, const KvWindow& window) {
  const BlockTable& table = s.window_blocks;
  if (!window.on() || !s.running) return table.empty();
  return table.size() >= blocks_for(s.computed, block_size) &&
         table.size() <= blocks_for(s.total_tokens(), block_size) &&
         table.given_up() == first_in_window(s.computed, window.positions, block_size);
}

}  // namespace

Status SequenceTable::audit(std::int32_t block_size, const KvWindow& window) const {
  for (const auto& [id, sequence] : sequences_) {
    const Sequence& s = *sequence;
    const bool waits = !s.running && s.blocks.empty() && s.computed == 0 && s.saved < s.total_tokens();
    const bool runs = s.running && s.computed > 0 && s.computed < s.total_tokens() &&
                      s.blocks.size() >= blocks_for(s.computed, block_size) &&
                      s.blocks.size() <= blocks_for(s.total_tokens(), block_size) &&
                      s.published <= s.computed / block_size;
    if ((waits || runs) && window_fits(s, block_size, window)) continue;
    return internal_error("sequence " + std::to_string(id.value) + " has " + std::to_string(s.total_tokens()) +
                          " tokens, " + std::to_string(s.computed) + " computed, " + std::to_string(s.blocks.size()) +
                          " blocks of " + std::to_string(block_size) + ", " + std::to_string(s.published) +
                          " of them known, " + std::to_string(s.window_blocks.held().size()) + " of " +
                          std::to_string(s.window_blocks.size()) + " window blocks");
  }
  return {};
}

std::vector<const BlockTable*> SequenceTable::block_tables(BlockTable Sequence::*member) const {
  std::vector<const BlockTable*> tables;
  for (const auto& [id, sequence] : sequences_) tables.push_back(&((*sequence).*member));
  return tables;
}

}  // namespace foregate
