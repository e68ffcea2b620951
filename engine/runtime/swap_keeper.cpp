#include "engine/runtime/swap_keeper.h"

#include <vector>

#include "engine/kv/block_pool.h"

namespace foregate {

SwapKeeper::SwapKeeper(Device& device, const EngineOptions& options, const Clock& clock, Metrics* registry)
    : mode_(options.preemption),
      chunk_(options.max_num_batched_tokens),
      clock_(clock),
      space_bytes_(options.swap_space_bytes),
      space_(device, options.swap_space_bytes),
      report_(mode_ == PreemptionMode::kRecompute ? nullptr : registry, options.model_name) {}

void SwapKeeper::probe(const KvCache& cache) {
  if (mode_ != PreemptionMode::kAuto) return;
  std::vector<std::byte> to(static_cast<std::size_t>(cache.layout().block_bytes()));
  const auto save = [&] {
    for (const KvGroup group : {KvGroup::kMain, KvGroup::kWindow}) {
      if (cache.num_blocks(group) > 0) cache.save_block(BlockId{0}, to.data(), group);
    }
  };
  save();  // the first touch of memory is not what later copies cost
  const TimeNs start = clock_.now();
  save();
  rate_.add(cache.layout().block_bytes(), seconds_between(start, clock_.now()));
}

// What of its blocks holds what was computed; of the window group what the next row reads.
SwapKeeper::Copied SwapKeeper::of(const Sequence& seq, const KvCache& cache) {
  const KvLayout& layout = cache.layout();
  const auto places = static_cast<std::size_t>(blocks_for(seq.computed, layout.block_size));
  Copied copied;
  copied.blocks = seq.blocks.blocks().first(places);
  if (layout.grouped) {
    const auto first = static_cast<std::size_t>(seq.window_blocks.given_up());
    copied.window_blocks = seq.window_blocks.blocks().first(places).subspan(first);
  }
  copied.bytes = static_cast<std::int64_t>(copied.blocks.size()) * layout.block_bytes(KvGroup::kMain) +
                 static_cast<std::int64_t>(copied.window_blocks.size()) * layout.block_bytes(KvGroup::kWindow);
  return copied;
}

bool SwapKeeper::wanted(const Sequence& seq, const KvCache& cache, const Copied& copied, const StepCost& steps) {
  if (mode_ == PreemptionMode::kRecompute) return false;
  if (!space_.fits(cache, copied.blocks.size(), copied.window_blocks.size())) return report_.no_room(), false;
  if (seq.blocks.given_up() > 0) return false;  // what was before its window is not there to be saved
  if (mode_ == PreemptionMode::kSwap) return true;
  if (swap_is_cheaper(steps, rate_, seq.computed, chunk_, copied.bytes)) return true;
  report_.skipped();
  return false;
}

void SwapKeeper::preempted(Sequence& seq, const KvCache& cache, const StepCost& steps, EngineStats& stats) {
  seq.saved = seq.saved_window_first = 0;
  const Copied copied = of(seq, cache);
  if (!wanted(seq, cache, copied, steps)) return;
  const TimeNs start = clock_.now();
  if (!space_.save(seq.id, cache, copied.blocks, copied.window_blocks)) return report_.no_room();
  const double seconds = seconds_between(start, clock_.now());
  rate_.add(copied.bytes, seconds);
  report_.stored(copied.bytes, seconds);
  seq.saved = seq.computed;
  seq.saved_window_first = seq.window_blocks.given_up();
  ++stats.swaps_out;
}

void SwapKeeper::restore(const BatchPlan& plan, SequenceTable& sequences, const KvStep& step, KvCache& cache) {
  for (const PlanEntry& entry : plan.entries) {
    if (entry.restored == 0) continue;
    const auto targets = [&](const KvTxn& txn, const BlockTable& of, std::int32_t first) {
      std::vector<std::int32_t> table;
      txn.append_view(of, table);
      std::vector<BlockId> blocks;
      const std::int32_t saved = blocks_for(entry.restored, cache.layout().block_size);
      for (std::int32_t i = first; i < saved; ++i) blocks.push_back({table[static_cast<std::size_t>(i)]});
      return blocks;
    };
    const Sequence& seq = sequences.at(entry.seq);
    std::vector<BlockId> window_blocks;
    if (cache.layout().grouped) window_blocks = targets(step.window, seq.window_blocks, entry.first_window_block);
    const std::vector<BlockId> blocks = targets(step.main, seq.blocks, entry.shared_blocks);
    const TimeNs start = clock_.now();
    space_.load(entry.seq, cache, static_cast<std::size_t>(entry.shared_blocks), blocks, window_blocks);
    report_.loaded(SwapSpace::bytes_of(cache, blocks.size(), window_blocks.size()),
                   seconds_between(start, clock_.now()));
  }
}

void SwapKeeper::resumed(const PlanEntry& entry, Sequence& seq, EngineStats& stats) {
  if (!entry.admitted || seq.saved == 0) return;
  stats.swaps_in += entry.restored > 0 ? 1 : 0;
  seq.saved = seq.saved_window_first = 0;
  space_.drop(seq.id);
}

void SwapKeeper::figures(EngineStats& stats) {
  stats.swap_bytes_used = space_.used_bytes();
  report_.used(space_.used_bytes(), space_bytes_);
}

}  // namespace foregate
