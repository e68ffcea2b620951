#include "engine/runtime/rank_report.h"

namespace foregate {

RankReport::Series RankReport::make(RankId rank) {
  const Labels labels = {{"model_name", model_name_}, {"rank", std::to_string(rank.value)}};
  const auto counter = [&](const char* name, const char* help) {
    return CounterFollower{.counter = &metrics_.counter(name, help, labels)};
  };
  return {.hits = counter("moe_rank_expert_hits", "Experts that another rank had in memory when rows came for them"),
          .misses = counter("moe_rank_expert_misses", "Experts that it had to read, or was reading"),
          .evictions = counter("moe_rank_expert_evictions", "Experts that gave up their memory there"),
          .loads = counter("moe_rank_expert_loads", "Experts that it read"),
          .loaded_bytes = counter("moe_rank_expert_loaded_bytes", "Bytes of them"),
          .stall = counter("moe_rank_expert_stall_seconds", "Time that it waited for reads with nothing to compute"),
          .slots = &metrics_.gauge("moe_rank_expert_slots", "Experts that it can hold in memory", labels),
          .used = &metrics_.gauge("moe_rank_expert_slots_used", "Of them, those that hold one", labels),
          .bytes = &metrics_.gauge("moe_rank_expert_slot_bytes", "Memory of all of them", labels)};
}

void RankReport::figures(RankId rank, const RankFigures& now) {
  auto at = series_.find(rank);
  if (at == series_.end()) at = series_.emplace(rank, make(rank)).first;
  Series& series = at->second;
  series.hits.follow(static_cast<double>(now.hits));
  series.misses.follow(static_cast<double>(now.misses));
  series.evictions.follow(static_cast<double>(now.evictions));
  series.loads.follow(static_cast<double>(now.loads));
  series.loaded_bytes.follow(static_cast<double>(now.loaded_bytes));
  series.stall.follow(static_cast<double>(now.stall_us) * 1e-6);
  series.slots->set(static_cast<double>(now.slots));
  series.used->set(static_cast<double>(now.slots_used));
  series.bytes->set(static_cast<double>(now.slot_bytes));
}

}  // namespace foregate
