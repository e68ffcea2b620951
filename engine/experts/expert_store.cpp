#include "engine/experts/expert_store.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <string>

#include "engine/experts/slot_plan.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

Result<std::vector<SlotGroup>> slot_groups(const ExpertTable& table, std::uint64_t budget_bytes) {
  ExpertSizes sizes;
  for (const ExpertExtent& extent : table.extents) ++sizes[extent.bytes];
  return plan_slots(sizes, table.top_k, budget_bytes);
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Lease& Lease::operator=(Lease&& other) noexcept {
  std::swap(store_, other.store_);
  std::swap(pool_, other.pool_);
  std::swap(slot_, other.slot_);
  std::swap(generation_, other.generation_);
  std::swap(key_, other.key_);
  return *this;
}

void Lease::release() {
  if (store_ == nullptr) return;
  ExpertStore* store = std::exchange(store_, nullptr);
  store->release(*this);
}

const std::byte* Lease::bytes() const {
  CHECK(store_ != nullptr);
  const SlotPool& pool = store_->pools_[pool_];
  const Slot& slot = pool.slot(slot_);
  CHECK(slot.generation == generation_ && slot.state == SlotState::kReady && slot.pins > 0);
  return pool.data(slot_);
}

ExpertWeights Lease::weights() const {
  const std::byte* data = bytes();  // which checks that there is a store
  return store_->table_.extents[store_->numbers_.at(key_)].at(data);
}

ExpertStore::ExpertStore(ExpertTable table, const StoreOptions& options)
    : table_(std::move(table)),
      options_(options),
      numbers_(table_.experts),
      places_(numbers_.size()),
      ahead_counts_(numbers_.size()),
      sparse_layers_(static_cast<std::size_t>(std::count_if(table_.experts.begin(), table_.experts.end(),
                                                            [](std::int32_t experts) { return experts > 0; }))),
      loads_begun_(numbers_.size()),
      forecast_(table_.experts, table_.top_k, options_.counters) {}

ExpertStore::~ExpertStore() {
  if (options_.save && policy_ != nullptr) options_.save(policy_->counters());
}

Result<std::unique_ptr<ExpertStore>> ExpertStore::create(ExpertTable table, const StoreOptions& options, Device& device,
                                                         std::unique_ptr<ReadQueue> queue) {
  std::unique_ptr<ExpertStore> store(new ExpertStore(std::move(table), options));
  ASSIGN_OR_RETURN(const auto groups, slot_groups(store->table_, options.budget_bytes));
  EvictionOptions policy;
  for (const SlotGroup& group : groups) policy.slots += group.slots;
  policy.experts = store->table_.experts;
  policy.top_k = store->table_.top_k;
  policy.counters = &store->options_.counters;
  policy.expert_bytes = store->table_.bytes_of_layers();
  ASSIGN_OR_RETURN(store->policy_, make_eviction_policy(options.policy, policy));
  RETURN_IF_ERROR(store->make_pools(device));
  TransferOptions transfer = options.transfer;
  transfer.fill = store->table_.fill;
  store->transfer_ = std::make_shared<Transfer>(std::move(queue), transfer);
  return store;
}

// One pool for each size of experts.
Status ExpertStore::make_pools(Device& device) {
  ASSIGN_OR_RETURN(const auto groups, slot_groups(table_, options_.budget_bytes));
  std::map<std::uint64_t, std::size_t> pool_of;
  for (const SlotGroup& group : groups) {
    pool_of[group.bytes] = pools_.size();
    if (elastic()) {
      ASSIGN_OR_RETURN(SlotPool pool, make_elastic_pool(group));
      pools_.push_back(std::move(pool));
      continue;
    }
    Memory memory = device.allocate(group.slots * group.bytes + kDirectPage);
    if (!memory) {
      return resource_exhausted("no memory for " + std::to_string(group.slots * group.bytes) + " bytes of experts");
    }
    pools_.emplace_back(std::move(memory), group.bytes, group.slots);
  }
  resized();
  for (std::size_t i = 0; i < places_.size(); ++i) places_[i].pool = pool_of[table_.extents[i].bytes];
  return {};
}

Status ExpertStore::warm(const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  jobs_.clear();
  for (const ExpertKey& key : warm_order(numbers_, options_.counters)) {
    const Place& place = places_[numbers_.at(key)];
    SlotPool& pool = pools_[place.pool];
    if (place.slot >= 0 || !pool.has_empty() || (options_.own && !options_.own(key))) continue;
    start_load(key, false);
    pool.pin(static_cast<std::size_t>(place.slot));
    awaited_.push_back(key);
  }
  // In the order in which they lie on disk.
  std::sort(jobs_.begin(), jobs_.end(), [](const LoadJob& a, const LoadJob& b) { return a.tag < b.tag; });
  if (!jobs_.empty()) transfer_->submit(jobs_);
  while (!awaited_.empty() && fault_.ok()) {
    collect(true);
    const std::uint64_t loaded = jobs_.size() - awaited_.size();
    if (progress) progress(stats_.slot_bytes * loaded / jobs_.size(), stats_.slot_bytes);
  }
  drop_layer();
  std::fill(loads_begun_.begin(), loads_begun_.end(), 0);
  return std::exchange(fault_, Status());
}

void ExpertStore::begin(const LayerUse& use) {
  if (BUG_IF(!ready_.empty() || !awaited_.empty() || !pending_.empty())) drop_layer();
  collect(false);
  note_times(use);
  forget_loads();
  last_layer_ = use.layer;
  const LayerUse counted = counted_.of(use);
  if (!counted.experts.empty()) count(counted);  // else rows of drafts alone came here
  settle_hints(use);
  settle_certain(use);
  begin_prompt(use, counted);
  for (auto expert = use.experts.rbegin(); expert != use.experts.rend(); ++expert) {
    const ExpertKey key{use.layer, ExpertId{*expert}};
    const Place& place = places_[numbers_.at(key)];
    if (in_order(key)) continue;
    if (place.slot < 0) {
      ++stats_.misses;
      pending_.push_back(key);
      continue;
    }
    SlotPool& pool = pools_[place.pool];
    const auto slot = static_cast<std::size_t>(place.slot);
    pool.pin(slot);
    if (pool.slot(slot).state == SlotState::kReady) {
      ++stats_.hits;
      ready_.push_back(key);
    } else {
      ++stats_.misses;
      ++stats_.late;
      awaited_.push_back(key);
      joined_.push_back(key);
      transfer_->promote(numbers_.at(key));
    }
  }
  if (!pending_.empty() || !awaited_.empty()) clock_.loads();
  start_pending();
}

void ExpertStore::count(const LayerUse& use) {
  policy_->used(use);
  for (SlotPool& pool : pools_) pool.values_changed();
}

// What is loaded from here on of the layer that ran is for its next run.
void ExpertStore::forget_loads() {
  if (last_layer_.value < 0) return;
  const auto first = loads_begun_.begin() + static_cast<std::ptrdiff_t>(numbers_.first(last_layer_));
  std::fill(first, first + numbers_.experts(last_layer_), 0);
}

// How fast loads came, and how long the link had nothing to do between two layers, hints apart.
void ExpertStore::note_times(const LayerUse& use) {
  constexpr double kNew = 0.05;
  const TransferStats moved = transfer_->stats();
  if (moved.bytes > seen_.bytes) {
    recent_bytes_ += static_cast<double>(moved.all_bytes - seen_.all_bytes) - kNew * recent_bytes_;
    recent_seconds_ += moved.busy_seconds - seen_.busy_seconds - kNew * recent_seconds_;
    seen_ = moved;
  }
  clock_.begin(use.layer, use.phase == UsePhase::kDecode, seconds_now());
}

LinkTimes ExpertStore::link_times() const {
  if (recent_bytes_ <= 0 || recent_seconds_ <= 0) return options_.expected;
  const double bandwidth = recent_bytes_ / recent_seconds_;
  const double bytes =
      static_cast<double>(stats_.slot_bytes) / static_cast<double>(std::max<std::uint64_t>(stats_.slots, 1));
  return {.load = bytes / bandwidth,
          .idle = clock_.timed() ? clock_.idle() : options_.expected.idle,
          .layer = clock_.timed() ? clock_.layer() : options_.expected.layer,
          .start = options_.expected.start};
}

double ExpertStore::victim_value(ExpertKey key) {
  SlotPool& pool = pools_[places_[numbers_.at(key)].pool];
  if (pool.has_empty()) return 0.0;
  const std::optional<std::size_t> victim = pool.least_valuable(*policy_);
  return victim ? policy_->reuse_chance(pool.slot(*victim).key) : 1.0;
}

void ExpertStore::start_pending() {
  jobs_.clear();
  std::vector<ExpertKey> left;
  std::vector<bool> full(pools_.size());
  for (auto key = pending_.rbegin(); key != pending_.rend(); ++key) {
    const Place& place = places_[numbers_.at(*key)];
    const bool wait = in_order_ && in_window() >= window_;
    if (full[place.pool] || wait || !start_load(*key, false)) {
      full[place.pool] = true;
      left.push_back(*key);
      continue;
    }
    pools_[place.pool].pin(static_cast<std::size_t>(place.slot));
    awaited_.push_back(*key);
    if (in_order_) order_.push_back(*key);
  }
  std::reverse(left.begin(), left.end());
  pending_ = std::move(left);
  if (pending_.empty()) read_ahead();
  if (!jobs_.empty()) transfer_->submit(jobs_);
}

// False when no slot may be given up for it now.
bool ExpertStore::start_load(ExpertKey key, bool hint) {
  const std::size_t number = numbers_.at(key);
  Place& place = places_[number];
  SlotPool& pool = pools_[place.pool];
  std::optional<std::size_t> slot = pool.take_empty();
  if (!slot) {
    const std::optional<std::size_t> victim = pool.least_valuable(*policy_);
    if (!victim) return false;
    evict(place.pool, *victim);
    slot = pool.take_empty();
  }
  stats_.repeated_loads += loads_begun_[number]++ > 0 ? 1 : 0;
  pool.begin(*slot, key, hint);
  place.slot = static_cast<std::int64_t>(*slot);
  jobs_.push_back({.extent = &table_.extents[number],
                   .key = key,
                   .to = pool.data(*slot),
                   .tag = number,
                   .hint = hint,
                   .stream = in_order_});
  return true;
}

void ExpertStore::evict(std::size_t pool, std::size_t slot) {
  places_[numbers_.at(pools_[pool].slot(slot).key)].slot = -1;
  pools_[pool].clear(slot);
  ++stats_.evictions;
}

void ExpertStore::collect(bool wait) {
  ends_.clear();
  transfer_->collect(LoadOwner::kExperts, ends_, wait);
  for (const LoadEnd& end : ends_) arrived(end);
}

void ExpertStore::arrived(const LoadEnd& end) {
  const Place& place = places_[end.tag];
  SlotPool& pool = pools_[place.pool];
  const auto number = static_cast<std::size_t>(place.slot);
  const ExpertKey key = pool.slot(number).key;
  const auto at = std::find(awaited_.begin(), awaited_.end(), key);
  const bool awaited = at != awaited_.end();
  const bool joined = std::erase(joined_, key) > 0;
  dropped_arrived(end, awaited);
  if (awaited && joined && !end.status.ok()) {  // was cancelled or failed for what was wanted before
    const LoadJob job{.extent = &table_.extents[end.tag], .key = key, .to = pool.data(number), .tag = end.tag};
    transfer_->submit({&job, 1});
    // Its own load from now on: what a prompt loads is handed out in order, what it read ahead in the place it has.
    if (in_order_ && !in_order(key)) order_.push_back(key);
    return;
  }
  if (!end.status.ok() && loads_begun_[end.tag] > 0)
    --loads_begun_[end.tag];  // nothing was read, or it counts as failed
  if (awaited) awaited_.erase(at);
  if (awaited && awaited_.empty() && pending_.empty()) clock_.arrived(seconds_now());
  pool.ready(number);
  if (end.status.ok()) {
    if (awaited && !in_order(key)) ready_.push_back(key);
    return;
  }
  if (!awaited && ahead_failed(key)) return;
  if (awaited) pool.unpin(number);
  if (awaited && fault_.ok()) fault_ = end.status;
  std::erase_if(hinted_, [&](const Hint& hint) {
    if (hint.key != key) return false;
    count_wasted(hint);
    return true;
  });
  places_[end.tag].slot = -1;
  pool.clear(number);
}

Result<std::vector<Lease>> ExpertStore::next() {
  collect(false);
  hand_over_in_order();
  const auto start = std::chrono::steady_clock::now();
  bool stalled = false;
  while (ready_.empty() && fault_.ok() && !(awaited_.empty() && pending_.empty())) {
    if (awaited_.empty()) {  // what was loaded ahead holds every slot
      forget_hints();
      forget_certain();
      start_pending();
    }
    CHECK(!awaited_.empty() || loading());  // else every slot is leased
    stalled = true;
    collect(true);
    hand_over_in_order();
    if (!pending_.empty()) start_pending();
  }
  if (ready_.empty() && fault_.ok()) end_prompt();
  if (stalled) stats_.stall_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!fault_.ok()) {
    drop_layer();
    return std::exchange(fault_, Status());
  }
  std::vector<Lease> leases;
  for (const ExpertKey& key : ready_) leases.push_back(lease(key));
  ready_.clear();
  return leases;
}

bool ExpertStore::loading() const {
  const auto any = [](const SlotPool& pool) { return pool.ahead() > 0; };
  return std::any_of(pools_.begin(), pools_.end(), any);
}

// Loads under way go on and make their experts resident. The step is given up, and with it what was loaded ahead for
// it.
void ExpertStore::drop_layer() {
  for (const std::vector<ExpertKey>* keys : {&ready_, &awaited_}) {
    for (const ExpertKey& key : *keys) {
      const Place& place = places_[numbers_.at(key)];
      pools_[place.pool].unpin(static_cast<std::size_t>(place.slot));
    }
  }
  for (std::size_t i = handed_out_; i < order_.size(); ++i) {  // arrived, but behind one that did not
    const Place& place = places_[numbers_.at(order_[i])];
    const bool waits = std::find(awaited_.begin(), awaited_.end(), order_[i]) != awaited_.end();
    if (!waits && resident(order_[i])) pools_[place.pool].unpin(static_cast<std::size_t>(place.slot));
  }
  ready_.clear();
  awaited_.clear();
  joined_.clear();
  pending_.clear();
  order_.clear();
  handed_out_ = given_back_ = 0;
  forget_ahead();
  forget_hints();
  forget_certain();
}

Lease ExpertStore::hold(ExpertKey key) {
  if (!resident(key)) return {};
  pool_of(key).pin(slot_of(key));
  return lease(key);
}

Lease ExpertStore::lease(ExpertKey key) {
  const Place& place = places_[numbers_.at(key)];
  const auto slot = static_cast<std::size_t>(place.slot);
  return Lease(this, place.pool, slot, pools_[place.pool].slot(slot).generation, key);
}

void ExpertStore::release(const Lease& lease) {
  SlotPool& pool = pools_[lease.pool_];
  pool.unpin(lease.slot_);
  if (options_.evict_at_release && pool.slot(lease.slot_).pins == 0) {
    std::memset(pool.data(lease.slot_), 0xff, pool.slot_bytes());  // as floats, no numbers
    evict(lease.pool_, lease.slot_);
  }
  const auto handed_out = order_.begin() + static_cast<std::ptrdiff_t>(handed_out_);
  if (std::find(order_.begin(), handed_out, lease.key_) != handed_out) ++given_back_;
  if (!pending_.empty() || wanted_next_ < wanted_.size()) start_pending();
  start_certain();
}

bool ExpertStore::resident(ExpertKey key) const {
  const Place& place = places_[numbers_.at(key)];
  return place.slot >= 0 && pools_[place.pool].slot(static_cast<std::size_t>(place.slot)).state == SlotState::kReady;
}

StoreStats ExpertStore::stats() const {
  StoreStats stats = stats_;
  for (const SlotPool& pool : pools_) stats.slots_used += pool.used_slots();
  stats.transfer = transfer_->stats();
  return stats;
}

}  // namespace foregate
