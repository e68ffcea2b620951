// One budget for KV blocks and slots of experts: carries out what elastic_plan.h decides, between steps. Blocks come
// only after the bytes of slots have gone and the other way round, so that both together never hold more than the
// budget. Owned by the loop, engine thread only. Off, it does nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/api/engine.h"
#include "engine/base/clock.h"
#include "engine/experts/elastic_slots.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/kv_cache.h"
#include "engine/runtime/engine_parts.h"
#include "engine/sched/elastic_plan.h"
#include "engine/sched/scheduler.h"

namespace foregate {

class ElasticMemory {
 public:
  // `slots` is the model's, null where their number is fixed; then it is off, as without a budget.
  ElasticMemory(const ElasticParts& parts, ElasticSlots* slots, const Clock& clock);
  bool on() const { return slots_ != nullptr; }

  // Before anything of a turn looks at blocks: makes slots of the blocks that were found idle in the turn before.
  void settle(BlockPool& pool, KvCache& cache);
  // Before the plan is made of `input`: makes more blocks where these are not enough, and sets input.free_blocks.
  void balance(PlanInput& input, const SchedLimits& limits, BlockPool& pool, KvCache& cache);

  std::optional<ElasticFigures> figures(const BlockPool& pool) const;  // none: off
  // kInternal when both hold more than the budget, or the pool fewer blocks than it must have.
  Status audit(const BlockPool& pool) const;

 private:
  std::int64_t cache_bytes(const BlockPool& pool) const { return std::int64_t{pool.present_blocks()} * block_bytes_; }
  ElasticFacts facts(const PlanInput& input, const SchedLimits& limits, const BlockPool& pool);
  void grow(std::int32_t units, BlockPool& pool, KvCache& cache);

  const ElasticParts parts_;
  ElasticSlots* slots_;
  const Clock& clock_;
  const std::int64_t block_bytes_;
  ElasticMemo memo_;
  std::uint64_t misses_ = 0;  // as of the last look
  double stall_seconds_ = 0.0;
  std::int32_t idle_units_ = 0;  // that settle() makes slots of
  ElasticFigures figures_;
};

}  // namespace foregate
