// Slots on a device that come and go between steps, where KV blocks share their budget. Part of DeviceTier.
#include <algorithm>
#include <string>
#include <utility>

#include "engine/experts/device_tier.h"
#include "engine/io/file.h"
#include "kernels/api/check.h"
#include "kernels/api/page_source.h"

namespace foregate {
namespace {

std::size_t slots_of(const std::vector<SlotGroup>& groups, std::uint64_t bytes) {
  const auto is = [bytes](const SlotGroup& group) { return group.bytes == bytes; };
  const auto group = std::find_if(groups.begin(), groups.end(), is);
  return group == groups.end() ? 0 : group->slots;
}

// The pool that has most of what it may have gives, the one that has least takes.
double filled(const SlotPool& pool) {
  return static_cast<double>(pool.count()) / static_cast<double>(std::max<std::size_t>(pool.most(), 1));
}

}  // namespace

// Whole pages of the budget: the last page of a pool may be its alone.
Result<std::vector<SlotGroup>> DeviceTier::first_groups(const ExpertSizes& sizes) const {
  std::uint64_t budget = options_.budget_bytes;
  if (elastic()) budget -= std::min<std::uint64_t>(budget, sizes.size() * options_.elastic.pages->page_bytes());
  return plan_slots(sizes, store_.table().top_k, budget);
}

Status DeviceTier::add_elastic_pool(const SlotGroup& group, const ExpertSizes& sizes) {
  PageSource& pages = *options_.elastic.pages;
  const std::int32_t top_k = store_.table().top_k;
  ASSIGN_OR_RETURN(const auto most,
                   plan_slots(sizes, top_k, std::max(options_.elastic.most_bytes, options_.budget_bytes)));
  auto least = plan_slots(sizes, top_k, options_.elastic.least_bytes);
  const std::size_t slots = std::max(slots_of(most, group.bytes), group.slots);
  const std::size_t wave = std::min(static_cast<std::size_t>(top_k) + 1, sizes.at(group.bytes));
  const std::size_t page = pages.page_bytes();
  const std::size_t whole = (slots * group.bytes + page - 1) / page;
  Memory memory = pages.reserve(whole, page);
  if (!memory) return resource_exhausted("no addresses for " + std::to_string(whole * page) + " bytes of experts");
  pools_.push_back({SlotPool(std::move(memory), group.bytes, slots, group.slots), {}, 0});
  Pool& pool = pools_.back();
  pool.used_in.assign(slots, 0);
  pool.least = std::min(group.slots, std::max(wave, least.ok() ? slots_of(*least, group.bytes) : 0));
  if (pages.take(pool.slots.data(0), page_bytes_of(pool, group.slots))) return {};
  return resource_exhausted("no device memory for " + std::to_string(page_bytes_of(pool, group.slots)) +
                            " bytes of experts of the elastic budget");
}

std::uint64_t DeviceTier::page_bytes_of(const Pool& pool, std::size_t slots) const {
  const std::uint64_t page = elastic() ? options_.elastic.pages->page_bytes() : 1;
  return (slots * pool.slots.slot_bytes() + page - 1) / page * page;
}

// What follows from the number of slots.
void DeviceTier::resized() {
  stats_.slots = stats_.slot_bytes = 0;
  for (const Pool& pool : pools_) {
    stats_.slots += pool.slots.count();
    stats_.slot_bytes += pool.slots.count() * pool.slots.slot_bytes();
  }
  if (policy_ != nullptr) policy_->set_slots(stats_.slots);
}

ElasticSlotFigures DeviceTier::elastic_figures() const {
  ElasticSlotFigures figures;
  figures.slots = stats_.slots;
  figures.misses = stats_.misses;
  figures.stall_seconds = stats_.stall_seconds;
  for (const Pool& pool : pools_) {
    const auto bytes = [&](std::size_t slots) { return static_cast<std::int64_t>(page_bytes_of(pool, slots)); };
    figures.bytes += bytes(pool.slots.count());
    figures.least_bytes += bytes(pool.least);
    figures.most_bytes += bytes(pool.slots.most());
    figures.slot_bytes = std::max(figures.slot_bytes, bytes(1));
  }
  return figures;
}

// Its expert moves to a slot before it, an empty one or that of the expert that is worth least. False when it cannot.
bool DeviceTier::empty_last(Pool& pool) {
  const std::size_t last = pool.slots.count() - 1;
  const Slot& slot = pool.slots.slot(last);
  if (slot.state == SlotState::kEmpty) return true;
  if (slot.pins > 0 || slot.hinted) return false;
  if (!pool.slots.has_empty() && !evict(pool)) return false;
  if (slot.state == SlotState::kEmpty) return true;
  const std::size_t to = *pool.slots.take_empty();
  const ExpertKey key = slot.key;
  copies_->copy(pool.slots.data(to), pool.slots.data(last), pool.slots.slot_bytes());
  pool.slots.clear(last);
  pool.slots.begin(to, key, false);
  pool.slots.ready(to);
  pool.used_in[to] = 0;
  places_[numbers_.at(key)].slot = static_cast<std::int64_t>(to);
  unheld_ = true;
  return true;
}

std::int64_t DeviceTier::give_up(std::int64_t bytes) {
  std::int64_t gone = 0;
  if (!elastic() || BUG_IF(!pinned_keys_.empty())) return gone;
  compute_.synchronize();
  settle();
  forget_ahead();
  std::vector<bool> stuck(pools_.size(), false);
  while (gone < bytes) {
    std::size_t from = pools_.size();
    for (std::size_t i = 0; i < pools_.size(); ++i) {
      if (stuck[i] || pools_[i].slots.count() <= pools_[i].least) continue;
      if (from == pools_.size() || filled(pools_[i].slots) > filled(pools_[from].slots)) from = i;
    }
    if (from == pools_.size()) break;
    Pool& pool = pools_[from];
    stuck[from] = !empty_last(pool);
    if (stuck[from]) continue;
    const std::uint64_t before = page_bytes_of(pool, pool.slots.count());
    pool.slots.remove_last();
    const std::uint64_t after = page_bytes_of(pool, pool.slots.count());
    if (after == before) continue;
    copies_->synchronize();  // what moved is read there until then
    options_.elastic.pages->give_back(pool.slots.data(0) + after, before - after);
    gone += static_cast<std::int64_t>(before - after);
  }
  hold_compute();
  for (Pool& pool : pools_) pool.slots.values_changed();
  resized();
  return gone;
}

std::int64_t DeviceTier::take(std::int64_t bytes) {
  std::int64_t taken = 0;
  if (!elastic()) return taken;
  const auto growth = [this](const Pool& pool) {
    return page_bytes_of(pool, pool.slots.count() + 1) - page_bytes_of(pool, pool.slots.count());
  };
  while (true) {
    Pool* to = nullptr;
    for (Pool& pool : pools_) {
      const bool fits =
          taken + static_cast<std::int64_t>(growth(pool)) <= bytes && pool.slots.count() < pool.slots.most();
      if (fits && (to == nullptr || filled(pool.slots) < filled(to->slots))) to = &pool;
    }
    if (to == nullptr) break;
    const std::uint64_t more = growth(*to);
    std::byte* const at = to->slots.data(0) + page_bytes_of(*to, to->slots.count());
    if (more > 0 && !options_.elastic.pages->take(at, more)) break;
    to->slots.add_slot();
    taken += static_cast<std::int64_t>(more);
  }
  resized();
  return taken;
}

}  // namespace foregate
