#include "engine/runtime/prefix_sharing.h"

#include <algorithm>
#include <vector>

namespace foregate {
namespace {

// Scores of prompt tokens come from rows that are computed.
bool may_share(const Sequence& seq) {
  return !seq.wants_prompt_logprobs();
}

PrefixView view_of(const PrefixMatch& match) {
  PrefixView view;
  view.blocks = match.blocks;
  view.tail = match.tail;
  view.tail_tokens = match.tail_tokens;
  view.window_blocks = match.window_blocks;
  view.window_tail = match.window_tail;
  view.window_first = match.window_first;
  return view;
}

}  // namespace

PrefixSharing::PrefixSharing(KvPools& pools, bool enabled, std::string_view model, std::int32_t window)
    : pools_(pools),
      pool_(pools.main),
      window_(window),
      cache_(enabled ? std::make_unique<PrefixCache>(pool_, BlockNamer(draw_secret(), model), window > 0,
                                                     pools.grouped() ? &pools.window : nullptr)
                     : nullptr) {}

void PrefixSharing::look_up(SequenceTable& sequences, SeqViews& views) {
  if (!enabled()) return;
  for (SeqView& view : views.waiting) {
    Sequence& seq = sequences.at(view.id);
    match(sequences, seq);
    view.prefix = view_of(seq.match);
  }
}

void PrefixSharing::fill(SequenceTable& sequences, SeqViews& views, std::int32_t most, bool ranked,
                         EngineStats& stats) {
  if (!enabled()) return;
  struct Ahead {
    const Sequence* seq;
    std::int32_t rank;
  };
  std::vector<Ahead> ahead;  // those that compute a prompt, or will before the one looked at
  for (const SeqView& view : views.running) {
    const Sequence& seq = sequences.at(view.id);
    const bool all_known = seq.unpublishable || seq.published >= seq.computed / pool_.block_size();
    if (!view.paused && (seq.total_tokens() - seq.computed > 1 || !all_known)) ahead.push_back({&seq, view.rank});
  }
  for (SeqView& view : views.waiting) {
    if (view.paused) continue;
    Sequence& seq = sequences.at(view.id);
    if (most <= 0) {  // nobody looks whether it waits for a prefix; that it could run counts
      seq.pending = false;
      continue;
    }
    match(sequences, seq);
    const bool pending = may_share(seq) && std::ranges::any_of(ahead, [&](const Ahead& other) {
                           return (!ranked || other.rank < view.rank) && computes_next_of(*other.seq, seq);
                         });
    stats.prefix_waits += pending && !seq.pending ? 1 : 0;
    view.pending = seq.pending = pending;
    view.prefix = view_of(seq.match);
    if (pending) continue;
    ahead.push_back({&seq, view.rank});
    --most;
  }
}

void PrefixSharing::match(SequenceTable& sequences, Sequence& seq) {
  seq.match = {};
  if (!may_share(seq)) return;
  const Request& request = *seq.request;
  cache_->extend_keys(request.cache_salt, seq.tokens, seq.keys);
  // The newest token is always computed: its logits are what the step is for.
  const std::int32_t full = (seq.total_tokens() - 1) / pool_.block_size();
  seq.match.blocks = cache_->match(request.cache_salt, seq.tokens, seq.keys, full + 1);
  if (static_cast<std::int32_t>(seq.match.blocks.size()) > full) {
    seq.match.tail = seq.match.blocks.back();
    seq.match.tail_tokens = seq.total_tokens() - 1 - full * pool_.block_size();
    seq.match.blocks.pop_back();
    if (seq.match.tail_tokens == 0) seq.match.tail.reset();
  }
  if (pools_.grouped()) match_window(seq.match);
  if (!seq.match.tail && static_cast<std::int32_t>(seq.match.blocks.size()) == full) match_tail(sequences, seq, full);
}

// Of the window group a prefix needs only what its next row reads. Cuts the match to where that is there.
void PrefixSharing::match_window(PrefixMatch& match) const {
  const auto beside = [&](std::int32_t i) { return cache_->beside(match.blocks[static_cast<std::size_t>(i)]); };
  const auto whole = static_cast<std::int32_t>(match.blocks.size());
  std::int32_t count = whole;
  while (count > 0) {
    match.window_first = first_in_window(count * pool_.block_size(), pools_.reach.positions, pool_.block_size());
    std::int32_t there = count;
    while (there > match.window_first && beside(there - 1) != kGivenUp) --there;
    if (there == match.window_first) break;
    count = there - 1;  // no prefix that reads this one will do
  }
  if (match.tail) match.window_tail = cache_->beside(*match.tail);
  if (count < whole || (match.tail && *match.window_tail == kGivenUp)) {
    match.tail.reset();
    match.window_tail.reset();
    match.tail_tokens = 0;
  }
  match.blocks.resize(static_cast<std::size_t>(count));
  if (count == 0) match.window_first = 0;
  for (std::int32_t i = match.window_first; i < count; ++i) match.window_blocks.push_back(beside(i));
}

// Samples of one request have the prompt in common to its last token, which no full block holds.
void PrefixSharing::match_tail(SequenceTable& sequences, Sequence& seq, std::int32_t full) const {
  const std::int32_t first = full * pool_.block_size();
  for (const Sequence* other : sequences.of_request(seq.request->id)) {
    if (other == &seq || !other->running || other->published < full || other->blocks.size() <= full) continue;
    const std::int32_t common = std::min({seq.total_tokens() - 1, seq.prompt_tokens(), other->computed}) - first;
    if (common <= seq.match.tail_tokens) continue;
    const BlockId tail = other->blocks.blocks()[static_cast<std::size_t>(full)];
    if (tail == kGivenUp) continue;
    if (pools_.grouped()) {
      const BlockId beside = other->window_blocks.blocks()[static_cast<std::size_t>(full)];
      if (beside == kGivenUp) continue;
      seq.match.window_tail = beside;
    }
    seq.match.tail = tail;
    seq.match.tail_tokens = common;
  }
}

// Whether what `seq` would have to compute first is what `other` is about to compute.
bool PrefixSharing::computes_next_of(const Sequence& other, const Sequence& seq) const {
  const std::size_t next = seq.match.blocks.size();
  if (pools_.grouped() && other.published > static_cast<std::int32_t>(next)) return false;  // it has been there
  return next < seq.keys.size() && next < other.keys.size() && seq.keys[next] == other.keys[next] &&
         (next + 1) * static_cast<std::size_t>(pool_.block_size()) < seq.tokens.size();
}

void PrefixSharing::share(const BatchPlan& plan, SequenceTable& sequences, KvStep& step) {
  for (const PlanEntry& entry : plan.entries) {
    if (!entry.admitted) continue;
    Sequence& seq = sequences.at(entry.seq);
    const ClientId owner = seq.request->client;
    if (entry.shared_blocks > 0 || entry.copies_tail) {
      step.main.share(seq.blocks, seq.match.blocks, entry.copies_tail ? seq.match.tail : std::nullopt, owner);
    }
    std::span<const BlockId> window_blocks = seq.match.window_blocks;
    window_blocks = window_blocks.first(static_cast<std::size_t>(entry.shared_window_blocks));
    step.window.share(seq.window_blocks, window_blocks, entry.copies_tail ? seq.match.window_tail : std::nullopt, owner,
                      entry.first_window_block);
  }
}

void PrefixSharing::note_admitted(const PlanEntry& entry, Sequence& seq, EngineStats& stats) const {
  if (!entry.admitted || !enabled()) return;
  seq.published = entry.shared_blocks;
  seq.unpublishable = false;
  seq.pending = false;
  stats.prefix_copies += entry.copies_tail ? 1 : 0;
  const bool restored = entry.restored > 0;
  const std::int32_t taken_over = restored ? entry.shared_blocks * pool_.block_size() : entry.first_position;
  const auto found = static_cast<std::uint64_t>(taken_over);
  if (seq.cached_tokens >= 0) {
    stats.resume_hits += found;
    return;
  }
  seq.cached_tokens = entry.first_position;
  stats.prefix_queries += may_share(seq) ? static_cast<std::uint64_t>(seq.prompt_tokens()) : 0;
  stats.prefix_hits += found;
}

// Only blocks whose rows were seen to lead to finite logits become known.
void PrefixSharing::publish(Sequence& seq, EngineStats& stats) {
  if (!enabled() || seq.unpublishable) return;
  const std::int32_t full = seq.computed / pool_.block_size();
  if (seq.published >= full) return;
  const std::string& salt = seq.request->cache_salt;
  cache_->extend_keys(salt, seq.tokens, seq.keys);
  for (; seq.published < full; ++seq.published) {
    const std::int32_t i = seq.published;
    const BlockId before = i > 0 ? seq.blocks.blocks()[static_cast<std::size_t>(i) - 1] : BlockId{-1};
    const BlockId mine = seq.blocks.blocks()[static_cast<std::size_t>(i)];
    const auto known = cache_->publish(salt, seq.tokens, seq.keys, i, before, mine);
    if (!known) {
      seq.unpublishable = true;
      return;
    }
    if (*known != mine) {
      KvTxn::replace(pool_, seq.blocks, i, *known);
      ++stats.prefix_merges;
    }
    if (pools_.grouped()) publish_window(seq, i, *known);
  }
}

// The block of the window group beside one that is known now.
void PrefixSharing::publish_window(Sequence& seq, std::int32_t index, BlockId known) {
  const BlockId mine = seq.window_blocks.blocks()[static_cast<std::size_t>(index)];
  if (mine == kGivenUp) return;
  const BlockId beside = cache_->beside(known);
  if (beside == kGivenUp) return cache_->put_beside(known, mine);
  KvTxn::replace(pools_.window, seq.window_blocks, index, beside);
}

void PrefixSharing::give_up_unread(Sequence& seq, EngineStats& stats) {
  if (pools_.grouped()) {
    const std::int32_t first = first_in_window(seq.computed, pools_.reach.positions, pool_.block_size());
    stats.window_blocks_freed +=
        static_cast<std::uint64_t>(KvTxn::give_up_before(pools_.window, seq.window_blocks, first, seq.request->client));
  }
  if (window_ == 0) return;
  // The next row is at position `computed`.
  std::int32_t count = std::max(0, seq.computed - window_ + 1) / pool_.block_size();
  // What is not known yet would be lost to the cache, and the next block is published as one that follows the last.
  if (enabled() && !seq.unpublishable) count = std::min(count, seq.published - 1);
  stats.window_blocks_freed +=
      static_cast<std::uint64_t>(KvTxn::give_up_before(pool_, seq.blocks, count, seq.request->client));
}

void PrefixSharing::figures(EngineStats& stats) const {
  stats.kv_blocks_kept = pool_.kept_blocks() + pools_.window.kept_blocks();
  if (enabled()) stats.prefix_evictions = static_cast<std::uint64_t>(cache_->evicted());
}

}  // namespace foregate
