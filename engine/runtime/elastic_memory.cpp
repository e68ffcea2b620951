#include "engine/runtime/elastic_memory.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/sched/elastic_demand.h"

namespace foregate {

ElasticMemory::ElasticMemory(const ElasticParts& parts, ElasticSlots* slots, const Clock& clock)
    : parts_(parts), slots_(parts.budget_bytes > 0 ? slots : nullptr), clock_(clock), block_bytes_(parts.block_bytes) {
  memo_.interval_began = memo_.idle_since = clock_.now();
  if (!on()) return;
  const ElasticSlotFigures now = slots_->elastic_figures();
  misses_ = now.misses;
  stall_seconds_ = now.stall_seconds;
}

ElasticFacts ElasticMemory::facts(const PlanInput& input, const SchedLimits& limits, const BlockPool& pool) {
  const ElasticSlotFigures slots = slots_->elastic_figures();
  const ElasticDemand demand = elastic_demand(input, limits);
  ElasticFacts facts;
  facts.now = clock_.now();
  facts.free = pool.free_blocks();
  facts.growing = demand.growing;
  facts.waiting = demand.waiting;
  facts.present = pool.present_blocks();
  facts.least = parts_.least_blocks;
  facts.most = pool.total_blocks();
  facts.unit = pool.unit();
  facts.block_bytes = block_bytes_;
  facts.expert_bytes = slots.bytes;
  facts.least_expert_bytes = slots.least_bytes;
  facts.most_expert_bytes = slots.most_bytes;
  facts.slot_bytes = slots.slot_bytes;
  facts.misses = slots.misses - std::exchange(misses_, slots.misses);
  facts.stall_seconds = slots.stall_seconds - std::exchange(stall_seconds_, slots.stall_seconds);
  facts.spare_bytes = parts_.budget_bytes - cache_bytes(pool) - slots.bytes;
  return facts;
}

void ElasticMemory::balance(PlanInput& input, const SchedLimits& limits, BlockPool& pool, KvCache& cache) {
  if (!on()) return;
  const std::int32_t units = plan_elastic(facts(input, limits, pool), parts_.rules, memo_);
  idle_units_ = std::max(0, -units);
  if (units > 0) grow(units, pool, cache);
  input.free_blocks = pool.free_blocks();
}

// A slot that goes is often more than what was wanted of it; all of it becomes blocks.
void ElasticMemory::grow(std::int32_t units, BlockPool& pool, KvCache& cache) {
  const std::int64_t unit_bytes = pool.unit() * block_bytes_;
  std::int64_t spare = parts_.budget_bytes - cache_bytes(pool) - slots_->elastic_figures().bytes;
  if (spare < units * unit_bytes) spare += slots_->give_up(units * unit_bytes - spare);
  const auto fit = static_cast<std::int32_t>(std::min<std::int64_t>(spare / unit_bytes, pool.absent_units()));
  std::int32_t came = 0;
  for (; came < fit && cache.take(pool.next_absent(), pool.unit()); ++came) pool.add_units(1);
  if (came == 0) return;
  ++figures_.moves_to_cache;
  figures_.bytes_to_cache += static_cast<std::uint64_t>(came * unit_bytes);
}

void ElasticMemory::settle(BlockPool& pool, KvCache& cache) {
  const std::int32_t units = std::exchange(idle_units_, 0);
  if (units == 0) return;
  const std::vector<BlockId> gone = pool.remove_units(units);  // the first block of each
  for (const BlockId first : gone) cache.give_back(first, pool.unit());
  if (gone.empty()) return;
  const std::int64_t spare = parts_.budget_bytes - cache_bytes(pool) - slots_->elastic_figures().bytes;
  const std::int64_t taken = slots_->take(spare);
  ++figures_.moves_to_experts;
  figures_.bytes_to_experts += static_cast<std::uint64_t>(taken);
}

std::optional<ElasticFigures> ElasticMemory::figures(const BlockPool& pool) const {
  if (!on()) return std::nullopt;
  ElasticFigures figures = figures_;
  const ElasticSlotFigures slots = slots_->elastic_figures();
  figures.budget_bytes = parts_.budget_bytes;
  figures.cache_bytes = cache_bytes(pool);
  figures.expert_bytes = slots.bytes;
  figures.slots = slots.slots;
  return figures;
}

// INV-26
Status ElasticMemory::audit(const BlockPool& pool) const {
  if (!on()) return {};
  const std::int64_t experts = slots_->elastic_figures().bytes;
  if (cache_bytes(pool) + experts > parts_.budget_bytes) {
    return internal_error(std::to_string(cache_bytes(pool)) + " bytes of KV blocks and " + std::to_string(experts) +
                          " of experts are more than the budget of " + std::to_string(parts_.budget_bytes));
  }
  if (pool.present_blocks() >= parts_.least_blocks) return {};
  return internal_error(std::to_string(pool.present_blocks()) + " KV blocks are left of the " +
                        std::to_string(parts_.least_blocks) + " that there must be");
}

}  // namespace foregate
