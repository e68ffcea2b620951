#include "engine/sched/elastic_plan.h"

#include <algorithm>

namespace foregate {
namespace {

std::int64_t round_up_to(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit;
}

void begin_idle_time(const ElasticFacts& facts, ElasticMemo& memo) {
  memo.idle = false;
  memo.idle_since = facts.now;
  memo.misses = 0;
  memo.stall_seconds = 0.0;
}

std::int64_t bytes_left(const ElasticFacts& facts, const ElasticRules& rules, ElasticMemo& memo) {
  if (seconds_between(memo.interval_began, facts.now) >= rules.interval_seconds) {
    memo.interval_began = facts.now;
    memo.moved_bytes = 0;
  }
  return std::max<std::int64_t>(0, rules.bytes_per_interval - memo.moved_bytes);
}

std::int32_t grow(const ElasticFacts& facts, std::int64_t bytes_left, ElasticMemo& memo) {
  const std::int64_t unit_bytes = facts.unit * facts.block_bytes;
  const auto units = [&facts](std::int64_t blocks) {
    return round_up_to(std::max<std::int64_t>(blocks, 0), facts.unit);
  };
  const std::int64_t wanted = units(std::int64_t{facts.growing} + facts.waiting - facts.free);
  const std::int64_t urgent = units(std::int64_t{facts.growing} - facts.free);
  const std::int64_t there =
      facts.spare_bytes + std::max<std::int64_t>(0, facts.expert_bytes - facts.least_expert_bytes);
  const std::int64_t most =
      std::min<std::int64_t>(std::max(0, facts.most - facts.present) / facts.unit, there / unit_bytes);
  const std::int64_t grown = std::min({wanted, most, std::max(urgent, bytes_left / unit_bytes)});
  memo.moved_bytes += grown * unit_bytes;
  return static_cast<std::int32_t>(std::max<std::int64_t>(0, grown));
}

// So many units as become whole slots; what is left of the last one stays with the cache.
std::int32_t shrink(const ElasticFacts& facts, std::int64_t bytes_left, ElasticMemo& memo) {
  const std::int64_t unit_bytes = facts.unit * facts.block_bytes;
  const std::int64_t free = std::min<std::int64_t>(memo.idle_blocks, facts.present - facts.least) / facts.unit;
  const std::int64_t room = std::max<std::int64_t>(0, facts.most_expert_bytes - facts.expert_bytes) / facts.slot_bytes;
  const std::int64_t bytes = std::min(free * unit_bytes, bytes_left) + facts.spare_bytes;
  const std::int64_t slots = std::min(bytes / facts.slot_bytes, room);
  const std::int64_t gone =
      std::min(free, round_up_to(std::max<std::int64_t>(0, slots * facts.slot_bytes - facts.spare_bytes), unit_bytes));
  memo.moved_bytes += gone * unit_bytes;
  return static_cast<std::int32_t>(-gone);
}

}  // namespace

std::int32_t plan_elastic(const ElasticFacts& facts, const ElasticRules& rules, ElasticMemo& memo) {
  memo.misses += facts.misses;
  memo.stall_seconds += facts.stall_seconds;
  const std::int64_t left = bytes_left(facts, rules, memo);
  const std::int64_t needed = std::int64_t{facts.growing} + facts.waiting;
  if (needed > facts.free) {
    begin_idle_time(facts, memo);
    return grow(facts, left, memo);
  }
  const auto idle = static_cast<std::int32_t>(facts.free - needed - rules.reserve_blocks);
  if (idle < facts.unit) {
    begin_idle_time(facts, memo);
    return 0;
  }
  memo.idle_blocks = memo.idle ? std::min(memo.idle_blocks, idle) : idle;
  memo.idle = true;
  if (seconds_between(memo.idle_since, facts.now) < rules.sustain_seconds) return 0;
  const bool waited = memo.misses > 0 && memo.stall_seconds > 0;
  const std::int32_t units = waited && facts.slot_bytes > 0 ? shrink(facts, left, memo) : 0;
  begin_idle_time(facts, memo);
  return units;
}

}  // namespace foregate
