#include "engine/runtime/expert_boot.h"

#include <algorithm>

namespace foregate {

Result<LookaheadOptions> lookahead_options(const BootOptions& options) {
  const auto mode = lookahead_mode_named(options.lookahead);
  if (!mode) return invalid_argument("must be off, shadow, auto or always", "lookahead");
  return LookaheadOptions{
      .mode = *mode, .distance = options.lookahead_distance, .correction = options.lookahead_correction};
}

ExpertLoading expert_loading(const BootOptions& options, std::uint64_t budget_bytes, std::int64_t available,
                             const std::string& machine) {
  constexpr std::uint64_t kLeastScratch = std::uint64_t{16} << 20;
  ExpertLoading loading;
  loading.store.budget_bytes = budget_bytes;
  loading.store.policy = options.expert_policy;
  loading.store.transfer.verify = options.verify_weights;
  loading.store.read_prompts_ahead = options.prompt_read_ahead;
  loading.store.sweep = options.expert_sweep;
  loading.store.evict_at_release = kEvictAtRelease;
  loading.warm = options.expert_warm;
  loading.counters_dir = options.model;
  if (!options.cost_calibration) return loading;
  CostLoading& costs = loading.costs.emplace();
  costs.machine = machine;
  if (available > 0) {
    costs.scratch_bytes = std::clamp(static_cast<std::uint64_t>(available) / 8, kLeastScratch, costs.scratch_bytes);
  }
  return loading;
}

}  // namespace foregate
