#include "engine/sched/elastic_demand.h"

#include <algorithm>

#include "engine/kv/block_pool.h"

namespace foregate {
namespace {

// Blocks that one takes out of the free ones when it is admitted; a tail that is copied may be free too.
std::int32_t admission_blocks(const SeqView& seq, const PlanInput& input) {
  const auto shared = static_cast<std::int32_t>(seq.prefix.blocks.size());
  std::int32_t blocks = blocks_for(seq.tokens, input.block_size) - shared;
  if (seq.prefix.tail) ++blocks;
  if (input.refs.empty()) return blocks;
  for (const BlockId block : seq.prefix.blocks) {
    blocks += input.refs[static_cast<std::size_t>(block.value)] == 0 ? 1 : 0;
  }
  return blocks;
}

}  // namespace

ElasticDemand elastic_demand(const PlanInput& input, const SchedLimits& limits) {
  ElasticDemand demand;
  std::int32_t places = limits.max_num_seqs;
  std::int64_t rows = limits.max_num_batched_tokens;
  std::int32_t to_the_end = 0;  // of running ones, beyond what is counted
  for (const SeqView& seq : input.running) {
    if (seq.paused) continue;
    --places;
    rows -= std::max(1, seq.tokens - seq.computed);
    const std::int32_t soon = std::min(seq.max_blocks, blocks_for(seq.tokens, input.block_size) + 1);
    demand.growing += std::max(0, soon - seq.blocks);
    to_the_end += std::max(0, seq.max_blocks - std::max(soon, seq.blocks));
  }
  bool again = false;
  for (const SeqView& seq : input.waiting) {
    if (seq.paused || seq.pending) continue;
    if (places <= 0 || rows <= 0) break;
    --places;
    rows -= std::max(1, seq.tokens);
    const std::int32_t now = admission_blocks(seq, input);
    const std::int32_t rest = std::max(0, seq.max_blocks - blocks_for(seq.tokens, input.block_size));
    demand.waiting += now + (seq.was_preempted ? rest : std::min(rest, 1));
    again = again || seq.was_preempted;
  }
  if (again) demand.waiting += to_the_end;
  return demand;
}

}  // namespace foregate
