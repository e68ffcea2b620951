#include "engine/sched/policy_mlfq.h"

#include <algorithm>
#include <numeric>

#include "engine/sched/policy.h"

namespace foregate {

std::int64_t mlfq_quantum(const MlfqOptions& options, std::int32_t level) {
  return static_cast<std::int64_t>(options.quantum) << std::min(level, 32);
}

MlfqState mlfq_joined(const MlfqOptions& options, std::int32_t prompt_tokens) {
  MlfqState state;
  while (state.level < options.levels - 1 && mlfq_quantum(options, state.level) < prompt_tokens) ++state.level;
  return state;
}

MlfqState mlfq_ran(const MlfqOptions& options, MlfqState state, std::int32_t tokens) {
  state.skipped = 0;
  const std::int32_t last = options.levels - 1;
  std::int64_t used = static_cast<std::int64_t>(state.used) + tokens;
  if (used >= mlfq_quantum(options, 0)) state.promoted_at = -1;
  while (state.level < last && used >= mlfq_quantum(options, state.level)) {
    used -= mlfq_quantum(options, state.level);
    ++state.level;
  }
  const bool counts = state.level < last || state.promoted_at >= 0;
  state.used = counts ? static_cast<std::int32_t>(used) : 0;
  return state;
}

MlfqState mlfq_skipped(const MlfqOptions& options, MlfqState state, std::int64_t step) {
  ++state.skipped;
  if (state.promoted_at >= 0 || state.skipped < options.promote_after) return state;
  return {0, 0, state.skipped, step};
}

std::vector<std::size_t> mlfq_order(std::span<const PolicyView> views) {
  std::vector<std::size_t> order(views.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    const MlfqState& x = views[a].mlfq;
    const MlfqState& y = views[b].mlfq;
    const bool first = x.promoted_at >= 0;
    if (first != (y.promoted_at >= 0)) return first;
    if (first && x.promoted_at != y.promoted_at) return x.promoted_at < y.promoted_at;
    if (!first && x.level != y.level) return x.level < y.level;
    return views[a].id < views[b].id;
  });
  return order;
}

}  // namespace foregate
