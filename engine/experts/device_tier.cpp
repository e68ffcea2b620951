#include "engine/experts/device_tier.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "engine/experts/slot_plan.h"
#include "engine/io/file.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<bool> first_sparse(const std::vector<std::int32_t>& experts, std::int32_t count) {
  std::vector<bool> chosen(experts.size(), false);
  for (std::size_t i = 0; i < experts.size(); ++i) chosen[i] = experts[i] > 0 && count-- > 0;
  return chosen;
}

}  // namespace

DeviceTier::DeviceTier(ExpertStore& store, const DeviceTierOptions& options, Device& device, Stream& compute,
                       bool pinned)
    : store_(store),
      options_(options),
      numbers_(store.table().experts),
      host_layer_(first_sparse(store.table().experts, options.host_layers)),
      compute_(compute),
      pinned_(pinned),
      places_(numbers_.size()),
      copies_(device.create_stream()),
      copied_(device.create_event()) {
  for (auto& mark : computed_) mark = device.create_event();
  stats_.staged = !pinned;
}

DeviceTier::~DeviceTier() {
  copies_->synchronize();
  copying_.clear();
  if (options_.save && policy_ != nullptr) options_.save(policy_->counters());
}

Result<std::unique_ptr<DeviceTier>> DeviceTier::create(ExpertStore& store, const DeviceTierOptions& options,
                                                       Device& device, Stream& compute, bool pinned) {
  std::unique_ptr<DeviceTier> tier(new DeviceTier(store, options, device, compute, pinned));
  RETURN_IF_ERROR(tier->make_pools(device));
  const ExpertTable& table = store.table();
  EvictionOptions policy;
  policy.slots = tier->stats_.slots;
  policy.experts = table.experts;
  policy.top_k = table.top_k;
  policy.counters = &store.first_counters();
  policy.expert_bytes = table.bytes_of_layers();
  ASSIGN_OR_RETURN(tier->policy_, make_eviction_policy(options.policy, policy));
  return tier;
}

// One pool for each size of experts that may move.
Status DeviceTier::make_pools(Device& device) {
  const ExpertTable& table = store_.table();
  ExpertSizes sizes;
  for (std::int32_t layer = 0; layer < numbers_.layers(); ++layer) {
    if (on_host(LayerId{layer})) continue;
    for (std::int32_t i = 0; i < numbers_.experts(LayerId{layer}); ++i) {
      ++sizes[table.extents[numbers_.at({LayerId{layer}, ExpertId{i}})].bytes];
    }
  }
  if (sizes.empty()) return {};
  auto groups = first_groups(sizes);
  if (!groups.ok()) return invalid_argument("in device memory " + groups.status().message(), "expert_device_memory");
  std::map<std::uint64_t, std::size_t> pool_of;
  for (const SlotGroup& group : *groups) {
    pool_of[group.bytes] = pools_.size();
    RETURN_IF_ERROR(elastic() ? add_elastic_pool(group, sizes) : add_pool(device, group));
  }
  resized();
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto found = pool_of.find(table.extents[i].bytes);
    if (found != pool_of.end()) places_[i].pool = found->second;
  }
  return {};
}

Status DeviceTier::add_pool(Device& device, const SlotGroup& group) {
  Memory memory = device.allocate(group.slots * group.bytes + kDirectPage);
  if (!memory) {
    return resource_exhausted("no device memory for " + std::to_string(group.slots * group.bytes) +
                              " bytes of experts, " + std::to_string(device.free_bytes()) + " are free");
  }
  pools_.push_back({SlotPool(std::move(memory), group.bytes, group.slots), {}, group.slots});
  pools_.back().used_in.assign(group.slots, 0);
  return {};
}

Status DeviceTier::warm(const UseCounters& counters) {
  constexpr std::size_t kTogether = 8;
  for (const ExpertKey& key : warm_order(numbers_, counters)) {
    if (on_host(key.layer) || !pool_of(key).slots.has_empty()) continue;
    Lease lease = store_.hold(key);
    if (!lease || !take(std::move(lease), false)) continue;
    Pool& pool = pool_of(key);
    pool.slots.unpin(slot_of(key));
    pinned_keys_.pop_back();
    if (copying_.size() == kTogether) settle();
  }
  settle();
  copies_->synchronize();
  hold_compute();
  if (failure() != nullptr) return unavailable(std::string("the device failed: ") + failure());
  return {};
}

void DeviceTier::begin(const LayerUse& use, std::vector<std::int32_t>& missed) {
  if (BUG_IF(!pinned_keys_.empty())) drop();
  note_times();
  count(counted_.of(use));
  settle_ahead(use);
  missed.clear();
  for (const std::int32_t expert : use.experts) {
    const ExpertKey key{use.layer, ExpertId{expert}};
    if (!held(key)) {
      missed.push_back(expert);
      continue;
    }
    pool_of(key).slots.pin(slot_of(key));
    pinned_keys_.push_back(key);
  }
  if (on_host(use.layer)) return;
  stats_.hits += use.experts.size() - missed.size();
  stats_.misses += missed.size();
}

void DeviceTier::count(const LayerUse& use) {
  policy_->used(use);
  for (Pool& pool : pools_) pool.slots.values_changed();
}

ExpertWeights DeviceTier::weights(ExpertKey key) const {
  const Place& place = places_[numbers_.at(key)];
  CHECK(place.slot >= 0);
  const SlotPool& pool = pools_[place.pool].slots;
  const auto slot = static_cast<std::size_t>(place.slot);
  CHECK(pool.slot(slot).pins > 0 && pool.slot(slot).key == key);
  return store_.table().extents[numbers_.at(key)].at(pool.data(slot));
}

bool DeviceTier::fetch(Lease&& lease) {
  if (take(std::move(lease), false)) return true;
  if (ahead_.empty()) return false;
  forget_ahead();  // what was kept for a later layer holds every slot
  return take(std::move(lease), false);
}

// Empties the slot that is worth least; false when every slot is pinned or kept.
bool DeviceTier::evict(Pool& pool) {
  const std::optional<std::size_t> victim = pool.slots.least_valuable(*policy_);
  if (!victim) return false;
  places_[numbers_.at(pool.slots.slot(*victim).key)].slot = -1;
  pool.slots.clear(*victim);
  ++stats_.evictions;
  return true;
}

// The lease is taken only when there is a slot.
bool DeviceTier::take(Lease&& lease, bool ahead) {
  const ExpertKey key = lease.key();
  Place& place = places_[numbers_.at(key)];
  Pool& pool = pools_[place.pool];
  std::optional<std::size_t> slot = pool.slots.take_empty();
  if (!slot) {
    if (!evict(pool)) return false;
    slot = pool.slots.take_empty();
  }
  place.slot = static_cast<std::int64_t>(*slot);
  pool.slots.begin(*slot, key, ahead);
  copy(lease, pool, *slot);
  pool.slots.ready(*slot);
  if (!ahead) {
    // Who computes waits for it. A link that was not measured yet is taken for a slow one.
    constexpr double kUnknown = 1e9;
    const double rate = stats_.link_bytes_per_second > 0 ? stats_.link_bytes_per_second : kUnknown;
    stats_.stall_seconds += static_cast<double>(pool.slots.slot_bytes()) / rate;
    pool.slots.pin(*slot);
    pinned_keys_.push_back(key);
  }
  copying_.push_back(std::move(lease));
  return true;
}

void DeviceTier::copy(const Lease& lease, Pool& pool, std::size_t slot) {
  if (pool.used_in[slot] > awaited_) {
    computed_[pool.used_in[slot] % kMarks]->hold(*copies_);
    awaited_ = pool.used_in[slot];
  }
  if (copy_bytes_ == 0) first_copy_ = Clock::now();
  const std::uint64_t bytes = pool.slots.slot_bytes();
  if (pinned_) {
    copies_->upload_pinned(pool.slots.data(slot), lease.bytes(), bytes);
  } else {
    copies_->upload(pool.slots.data(slot), lease.bytes(), bytes);
  }
  copy_bytes_ += bytes;
  ++stats_.fetched;
  stats_.fetched_bytes += bytes;
  unheld_ = true;
}

void DeviceTier::hold_compute() {
  if (!unheld_) return;
  copied_->record(*copies_);
  copied_->hold(compute_);
  unheld_ = false;
}

void DeviceTier::computed(std::span<const ExpertKey> of) {
  if (of.empty()) return;
  ++computations_;
  computed_[computations_ % kMarks]->record(compute_);
  for (const ExpertKey& key : of) {
    Pool& pool = pool_of(key);
    pool.used_in[slot_of(key)] = computations_;
    pool.slots.unpin(slot_of(key));
    std::erase(pinned_keys_, key);
  }
}

// The rate counts where the host had to wait for the link: otherwise it was done before.
void DeviceTier::settle() {
  if (copying_.empty()) return;
  constexpr double kNew = 0.1;
  const auto start = Clock::now();
  copied_->record(*copies_);
  copied_->wait();
  copying_.clear();
  const double waited = seconds_since(start);
  const double all = seconds_since(first_copy_);
  if (all > 0 && waited > kNew * all) {
    const double rate = static_cast<double>(copy_bytes_) / all;
    double& known = stats_.link_bytes_per_second;
    known += (known == 0.0 ? 1.0 : kNew) * (rate - known);
  }
  copy_bytes_ = 0;
}

void DeviceTier::drop() {
  for (const ExpertKey& key : pinned_keys_) pool_of(key).slots.unpin(slot_of(key));
  pinned_keys_.clear();
  forget_ahead();
  settle();
}

void DeviceTier::announce(LayerId layer, std::span<const std::int32_t> experts) {
  forget_ahead();
  if (!options_.prefetch || on_host(layer)) return;
  for (const std::int32_t expert : experts) {
    const ExpertKey key{layer, ExpertId{expert}};
    if (held(key)) {
      pool_of(key).slots.keep(slot_of(key));
      ahead_.push_back({key, false});
      continue;
    }
    Lease lease = store_.hold(key);
    if (!lease) continue;
    if (!take(std::move(lease), true)) break;
    ahead_.push_back({key, true});
    ++stats_.ahead;
  }
}

// What was kept for the layer is its own from here on.
void DeviceTier::settle_ahead(const LayerUse& use) {
  std::erase_if(ahead_, [&](const Ahead& ahead) {
    if (ahead.key.layer != use.layer) return false;
    pool_of(ahead.key).slots.used(slot_of(ahead.key));
    const bool used = std::binary_search(use.experts.begin(), use.experts.end(), ahead.key.expert.value);
    if (ahead.copied) ++(used ? stats_.ahead_useful : stats_.ahead_wasted);
    return true;
  });
}

void DeviceTier::prefetch(std::span<const ExpertKey> keys) {
  for (const ExpertKey& key : keys) {
    if (on_host(key.layer) || held(key)) continue;
    const SlotPool& slots = pool_of(key).slots;
    Lease lease = slots.ahead() < slots.count() / kHintShare ? store_.hold(key) : Lease();
    if (!lease || !take(std::move(lease), true)) continue;
    ahead_.push_back({key, true});
    ++stats_.ahead;
  }
}

double DeviceTier::victim_value(ExpertKey key) {
  if (on_host(key.layer)) return 1.0;  // it has no slots
  SlotPool& slots = pool_of(key).slots;
  if (slots.has_empty()) return 0.0;
  const std::optional<std::size_t> victim = slots.least_valuable(*policy_);
  return victim ? policy_->reuse_chance(slots.slot(*victim).key) : 1.0;
}

LinkTimes DeviceTier::link_times() const {
  if (stats_.slots == 0) return {};
  return {.load = fetch_seconds(stats_.slot_bytes / stats_.slots), .idle = idle_seconds_, .layer = layer_seconds_};
}

void DeviceTier::note_times() {
  constexpr double kNew = 0.05;
  const auto now = Clock::now();
  if (last_begin_ != Clock::time_point()) {
    const double layer = std::chrono::duration<double>(now - last_begin_).count();
    const double idle = std::max(0.0, layer - fetch_seconds(stats_.fetched_bytes - bytes_before_));
    layer_seconds_ += (layer_seconds_ == 0 ? 1.0 : kNew) * (layer - layer_seconds_);
    idle_seconds_ += (idle_seconds_ == 0 ? 1.0 : kNew) * (idle - idle_seconds_);
  }
  last_begin_ = now;
  bytes_before_ = stats_.fetched_bytes;
}

void DeviceTier::forget_ahead() {
  for (const auto& [key, copied] : ahead_) {
    pool_of(key).slots.used(slot_of(key));
    if (copied) ++stats_.ahead_wasted;
  }
  ahead_.clear();
}

double DeviceTier::fetch_seconds(std::uint64_t bytes) const {
  const double rate = stats_.link_bytes_per_second;
  return rate > 0 ? static_cast<double>(bytes) / rate : 0.0;
}

DeviceTierStats DeviceTier::stats() const {
  DeviceTierStats stats = stats_;
  for (const Pool& pool : pools_) stats.slots_used += pool.slots.used_slots();
  return stats;
}

}  // namespace foregate
