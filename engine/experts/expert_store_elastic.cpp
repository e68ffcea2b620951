// Slots that come and go between steps, where something else shares their budget. Part of ExpertStore.
#include <algorithm>
#include <string>
#include <utility>

#include "engine/experts/expert_store.h"
#include "engine/io/file.h"

namespace foregate {
namespace {

std::size_t slots_of(const std::vector<SlotGroup>& groups, std::uint64_t bytes) {
  const auto is = [bytes](const SlotGroup& group) { return group.bytes == bytes; };
  const auto group = std::find_if(groups.begin(), groups.end(), is);
  return group == groups.end() ? 0 : group->slots;
}

// Sizes keep their shares: the pool that has most of what it may have gives, the one that has least takes.
double filled(const SlotPool& pool) {
  return static_cast<double>(pool.count()) / static_cast<double>(std::max<std::size_t>(pool.most(), 1));
}

}  // namespace

// `group`: what is there at the start.
Result<SlotPool> ExpertStore::make_elastic_pool(const SlotGroup& group) {
  const ElasticSlotOptions& elastic = options_.elastic;
  if (group.bytes % elastic.pages->page_bytes() != 0) {
    return unimplemented("an expert of " + std::to_string(group.bytes) + " bytes is not whole pages of " +
                             std::to_string(elastic.pages->page_bytes()),
                         "elastic_memory");
  }
  ExpertSizes sizes;
  for (const ExpertExtent& extent : table_.extents) ++sizes[extent.bytes];
  ASSIGN_OR_RETURN(const auto most,
                   plan_slots(sizes, table_.top_k, std::max(elastic.most_bytes, options_.budget_bytes)));
  const std::size_t slots = slots_of(most, group.bytes);
  // The least of all, where less than that is asked for.
  auto least = plan_slots(sizes, table_.top_k, elastic.least_bytes);
  const std::size_t wave = std::min(static_cast<std::size_t>(table_.top_k) + 1, sizes[group.bytes]);
  least_slots_.push_back(std::min(group.slots, std::max(wave, least.ok() ? slots_of(*least, group.bytes) : 0)));
  // base_ of the pool is where the first slot begins, as the pages do.
  Memory memory = elastic.pages->reserve(slots, group.bytes);
  if (!memory) {
    return resource_exhausted("no addresses for " + std::to_string(slots * group.bytes) + " bytes of experts");
  }
  return SlotPool(std::move(memory), group.bytes, slots, group.slots);
}

// What follows from the number of slots.
void ExpertStore::resized() {
  stats_.slots = stats_.slot_bytes = 0;
  max_hints_ = 0;
  for (const SlotPool& pool : pools_) {
    stats_.slots += pool.count();
    stats_.slot_bytes += pool.count() * pool.slot_bytes();
    max_hints_ += pool.count() / kHintShare;
  }
  window_ = prompt_window(stats_.slots);
  policy_->set_slots(stats_.slots);
}

ElasticSlotFigures ExpertStore::elastic_figures() const {
  ElasticSlotFigures figures;
  figures.slots = stats_.slots;
  figures.bytes = static_cast<std::int64_t>(stats_.slot_bytes);
  figures.misses = stats_.misses;
  figures.stall_seconds = stats_.stall_seconds;
  for (std::size_t i = 0; i < pools_.size(); ++i) {
    const auto bytes = static_cast<std::int64_t>(pools_[i].slot_bytes());
    const std::size_t least = i < least_slots_.size() ? least_slots_[i] : pools_[i].count();
    figures.least_bytes += bytes * static_cast<std::int64_t>(least);
    figures.most_bytes += bytes * static_cast<std::int64_t>(pools_[i].most());
    figures.slot_bytes = std::max(figures.slot_bytes, bytes);
  }
  return figures;
}

// Makes an empty slot of one that may be given up.
bool ExpertStore::free_slot(std::size_t pool) {
  if (pools_[pool].has_empty()) return true;
  const std::optional<std::size_t> victim = pools_[pool].least_valuable(*policy_);
  if (victim) evict(pool, *victim);
  return victim.has_value();
}

std::int64_t ExpertStore::give_up(std::int64_t bytes) {
  std::int64_t gone = 0;
  if (!elastic() || BUG_IF(!ready_.empty() || !awaited_.empty() || !pending_.empty())) return gone;
  collect(false);
  std::vector<bool> stuck(pools_.size(), false);
  bool forgotten = false;
  while (gone < bytes) {
    std::size_t from = pools_.size();
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      if (stuck[i] || pools_[i].count() <= least_slots_[i]) continue;
      if (from == pools_.size() || filled(pools_[i]) > filled(pools_[from])) from = i;
    }
    if (from == pools_.size()) break;
    stuck[from] = !free_slot(from);
    if (stuck[from] && !std::exchange(forgotten, true)) {  // what was brought ahead gives way
      forget_ahead();
      forget_hints();
      forget_certain();
      collect(false);
      stuck[from] = !free_slot(from);
    }
    if (stuck[from]) continue;
    SlotPool& pool = pools_[from];
    options_.elastic.pages->give_back(pool.data(pool.remove_empty()), pool.slot_bytes());
    gone += static_cast<std::int64_t>(pool.slot_bytes());
  }
  resized();
  return gone;
}

std::int64_t ExpertStore::take(std::int64_t bytes) {
  std::int64_t taken = 0;
  if (!elastic()) return taken;
  while (true) {
    SlotPool* to = nullptr;
    for (SlotPool& pool : pools_) {
      const bool fits = taken + static_cast<std::int64_t>(pool.slot_bytes()) <= bytes && pool.count() < pool.most();
      if (fits && (to == nullptr || filled(pool) < filled(*to))) to = &pool;
    }
    if (to == nullptr) break;
    to->add_slot();
    taken += static_cast<std::int64_t>(to->slot_bytes());
  }
  resized();
  return taken;
}

}  // namespace foregate
