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
  cache.save_block(BlockId{0}, to.data());  // the first touch of memory is not what later copies cost
  const TimeNs start = clock_.now();
  cache.save_block(BlockId{0}, to.data());
  rate_.add(cache.layout().block_bytes(), seconds_between(start, clock_.now()));
}

bool SwapKeeper::wanted(const Sequence& seq, const KvCache& cache, std::size_t blocks, const StepCost& steps) {
  if (mode_ == PreemptionMode::kRecompute) return false;
  if (!space_.fits(cache, blocks)) return report_.no_room(), false;
  if (seq.blocks.given_up() > 0) return false;  // what was before its window is not there to be saved
  if (mode_ == PreemptionMode::kSwap) return true;
  const std::int64_t bytes = static_cast<std::int64_t>(blocks) * cache.layout().block_bytes();
  if (swap_is_cheaper(steps, rate_, seq.computed, chunk_, bytes)) return true;
  report_.skipped();
  return false;
}

void SwapKeeper::preempted(Sequence& seq, const KvCache& cache, const StepCost& steps, EngineStats& stats) {
  seq.saved = 0;
  const auto blocks = static_cast<std::size_t>(blocks_for(seq.computed, cache.layout().block_size));
  if (!wanted(seq, cache, blocks, steps)) return;
  const TimeNs start = clock_.now();
  if (!space_.save(seq.id, cache, seq.blocks.blocks().first(blocks))) return report_.no_room();
  const std::int64_t bytes = static_cast<std::int64_t>(blocks) * cache.layout().block_bytes();
  const double seconds = seconds_between(start, clock_.now());
  rate_.add(bytes, seconds);
  report_.stored(bytes, seconds);
  seq.saved = seq.computed;
  ++stats.swaps_out;
}

void SwapKeeper::restore(const BatchPlan& plan, SequenceTable& sequences, const KvTxn& txn, KvCache& cache) {
  for (const PlanEntry& entry : plan.entries) {
    if (entry.restored == 0) continue;
    std::vector<std::int32_t> table;
    txn.append_view(sequences.at(entry.seq).blocks, table);
    std::vector<BlockId> targets;
    const std::int32_t saved = blocks_for(entry.restored, cache.layout().block_size);
    for (std::int32_t i = entry.shared_blocks; i < saved; ++i) targets.push_back({table[static_cast<std::size_t>(i)]});
    const TimeNs start = clock_.now();
    space_.load(entry.seq, cache, static_cast<std::size_t>(entry.shared_blocks), targets);
    report_.loaded(static_cast<std::int64_t>(targets.size()) * cache.layout().block_bytes(),
                   seconds_between(start, clock_.now()));
  }
}

void SwapKeeper::resumed(const PlanEntry& entry, Sequence& seq, EngineStats& stats) {
  if (!entry.admitted || seq.saved == 0) return;
  stats.swaps_in += entry.restored > 0 ? 1 : 0;
  seq.saved = 0;
  space_.drop(seq.id);
}

void SwapKeeper::figures(EngineStats& stats) {
  stats.swap_bytes_used = space_.used_bytes();
  report_.used(space_.used_bytes(), space_bytes_);
}

}  // namespace foregate
