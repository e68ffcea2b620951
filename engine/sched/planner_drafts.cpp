#include <algorithm>

#include "engine/kv/block_pool.h"
#include "engine/sched/planner.h"

namespace foregate {

// Rows and blocks that are left when everything else is planned.
void Planner::add_drafts() {
  if (!plan_.preempted.empty()) return;
  std::int32_t most = limits_.max_num_batched_tokens;
  if (limits_.max_mixed_rows > 0) most = std::min(most, limits_.max_mixed_rows);
  std::int32_t budget = most - plan_.rows;
  for (std::size_t i = 0; i < state_.size() && budget > 0; ++i) {
    const SeqView& seq = input_.running[i];
    if (seq.draft <= 0 || !state_[i].planned) continue;
    PlanEntry& entry = *std::ranges::find(plan_.entries, seq.id, &PlanEntry::seq);
    if (!entry.samples || entry.rows != 1) continue;
    const Blocks& reach = state_[i].reach;
    std::int32_t most_blocks = std::min(seq.max_blocks, reach.main + free_.main);
    if (grouped()) most_blocks = std::min(most_blocks, reach.window + free_.window);
    const std::int32_t fits = most_blocks * input_.block_size - seq.tokens;
    entry.draft = std::max(0, std::min({seq.draft, budget, fits}));
    const std::int32_t places = blocks_for(seq.tokens + entry.draft, input_.block_size);
    const Blocks more{std::max(0, places - reach.main), grouped() ? std::max(0, places - reach.window) : 0};
    entry.rows += entry.draft;
    entry.new_blocks += more.main;
    entry.new_window_blocks += more.window;
    take(i, more);
    budget -= entry.draft;
    plan_.rows += entry.draft;
  }
}

}  // namespace foregate
