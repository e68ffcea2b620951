// Experts in the memory of a device that may not hold all of them: slots in front of the store's, which are host
// memory. Copies run on a stream of their own beside the computation; each stream waits for the other by events, the
// host does not. Which experts stay is the policy's choice (eviction.h). Engine thread.
//
// A slot is ready as soon as its copy was begun: whoever computes with it is held by hold_compute(). It may be given to
// another expert as soon as the computation with it was begun (computed()): the copy that follows waits for that.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/api/hint_bytes.h"
#include "engine/base/status.h"
#include "engine/experts/elastic_slots.h"
#include "engine/experts/expert_store.h"
#include "engine/experts/miss_split.h"
#include "engine/experts/slot_plan.h"
#include "engine/experts/slot_pool.h"
#include "kernels/api/device.h"

namespace foregate {

struct DeviceTierOptions {
  std::uint64_t budget_bytes = 0;  // of slots; of elastic ones at the start, whole pages
  ElasticSlotOptions elastic = {};
  std::string policy = "auto";  // as make_eviction_policy() takes it
  MissRule misses = MissRule::kFetch;
  std::int32_t host_layers =
      0;                 // of the layers with experts, the first ones: computed on the host, nothing of them moves
  bool prefetch = true;  // begin copies of experts that are known to be used by the layer that runs next
  std::function<void(const UseCounters&)> save = {};  // called at destruction with those of this run; may be empty
};

struct DeviceTierStats {
  std::uint64_t hits = 0;    // experts of layers that the device had
  std::uint64_t misses = 0;  // that it had not, without those of host layers
  std::uint64_t fetched = 0;
  std::uint64_t fetched_bytes = 0;
  std::uint64_t host_computed = 0;  // of the misses; and of host layers
  std::uint64_t evictions = 0;
  std::uint64_t ahead = 0;         // of the fetched: begun before their layer
  std::uint64_t ahead_useful = 0;  // that it used
  std::uint64_t ahead_wasted = 0;
  std::uint64_t slots = 0;
  std::uint64_t slots_used = 0;
  std::uint64_t slot_bytes = 0;
  double stall_seconds = 0.0;          // that copies of missed experts take, as the link was measured
  double link_bytes_per_second = 0.0;  // as measured; 0: not yet
  bool staged = false;                 // host memory could not be pinned: copies pass through a ring
};

class DeviceTier final : public ElasticSlots {
 public:
  // Slots on `device` for experts of `store`, which must outlive this, as must `compute`, the stream that uses them.
  // `pinned`: the store's slots are memory of allocate_pinned(). kInvalidArgument (field expert_device_memory) when the
  // budget holds less than top_k + 1 experts of a size, kResourceExhausted when the device has too little memory.
  static Result<std::unique_ptr<DeviceTier>> create(ExpertStore& store, const DeviceTierOptions& options,
                                                    Device& device, Stream& compute, bool pinned);
  ~DeviceTier() override;

  // Fills the slots before the first step with what the host has and the counters say is used most; measures the link.
  Status warm(const UseCounters& counters);

  // Begins a layer: counts its experts and pins those that are there. Appends the others to `missed`.
  void begin(const LayerUse& use, std::vector<std::int32_t>& missed);
  // As ExpertStore::count().
  void count(const LayerUse& use);
  bool on_host(LayerId layer) const { return host_layer_[static_cast<std::size_t>(layer.value)]; }
  bool held(ExpertKey key) const { return places_[numbers_.at(key)].slot >= 0; }
  ExpertWeights weights(ExpertKey key) const;  // of one that is pinned
  // Begins to copy an expert of the layer and pins it; the lease is kept until settle(). False when every slot is
  // pinned: computed() frees some.
  bool fetch(Lease&& lease);
  void hold_compute();                           // what is computed from now on waits for the copies begun so far
  void computed(std::span<const ExpertKey> of);  // a computation with these was begun: they are unpinned
  void count_host(std::size_t experts) { stats_.host_computed += experts; }
  void settle();  // waits for copies that still read the host's slots, gives their leases back
  // The layer or the step is given up.
  void drop();
  // The layer that runs next will use these: copies of those that the host has are begun.
  void announce(LayerId layer, std::span<const std::int32_t> experts);

  // Guesses about layers to come: copies of those that the host has are begun, into slots of the least value. At most
  // one slot in kHintShare holds one that is not used yet.
  void prefetch(std::span<const ExpertKey> keys);
  // As the store's.
  double victim_value(ExpertKey key);
  LinkTimes link_times() const;

  double fetch_seconds(std::uint64_t bytes) const;  // 0: not known
  MissRule rule() const { return options_.misses; }
  const char* failure() const { return copies_->failure(); }
  DeviceTierStats stats() const;

  // Slots that come and go between steps (device_tier_elastic.cpp). A slot need not be whole pages: those that are
  // there are the first ones of their pool, and what its last page has beside them is counted as theirs.
  bool elastic() const { return options_.elastic.pages != nullptr; }
  ElasticSlotFigures elastic_figures() const override;
  std::int64_t give_up(std::int64_t bytes) override;
  std::int64_t take(std::int64_t bytes) override;

  const EvictionPolicy& policy() const { return *policy_; }

 private:
  struct Place {
    std::size_t pool = 0;
    std::int64_t slot = -1;
  };
  struct Pool {
    SlotPool slots;
    std::vector<std::uint64_t> used_in;  // of each slot: the last computation with it
    std::size_t least = 0;               // slots that stay
  };
  static constexpr std::size_t kMarks = 4;
  using Clock = std::chrono::steady_clock;

  DeviceTier(ExpertStore& store, const DeviceTierOptions& options, Device& device, Stream& compute, bool pinned);
  Status make_pools(Device& device);
  Status add_pool(Device& device, const SlotGroup& group);
  Status add_elastic_pool(const SlotGroup& group, const ExpertSizes& sizes);
  Result<std::vector<SlotGroup>> first_groups(const ExpertSizes& sizes) const;
  std::uint64_t page_bytes_of(const Pool& pool, std::size_t slots) const;  // that so many take
  bool evict(Pool& pool);                                                  // makes a slot empty
  bool empty_last(Pool& pool);
  void resized();
  bool take(Lease&& lease, bool ahead);
  void copy(const Lease& lease, Pool& pool, std::size_t slot);
  void settle_ahead(const LayerUse& use);
  void forget_ahead();
  void note_times();
  Pool& pool_of(ExpertKey key) { return pools_[places_[numbers_.at(key)].pool]; }
  std::size_t slot_of(ExpertKey key) const { return static_cast<std::size_t>(places_[numbers_.at(key)].slot); }

  ExpertStore& store_;
  DeviceTierOptions options_;
  ExpertNumbers numbers_;
  std::vector<bool> host_layer_;
  std::unique_ptr<EvictionPolicy> policy_;
  CountedUse counted_;
  Stream& compute_;
  bool pinned_;
  std::vector<Pool> pools_;
  std::vector<Place> places_;  // by expert number
  std::unique_ptr<Stream> copies_;
  std::unique_ptr<Event> copied_;                        // the copies so far
  std::array<std::unique_ptr<Event>, kMarks> computed_;  // computations in turn; an entry stands for the latest of it
  std::uint64_t computations_ = 0;
  std::uint64_t awaited_ = 0;   // copies wait for the computations up to this
  bool unheld_ = false;         // copies were begun that computations do not wait for yet
  std::vector<Lease> copying_;  // what their copies still read
  std::vector<ExpertKey> pinned_keys_;
  struct Ahead {
    ExpertKey key;
    bool copied = false;  // else it was there and is kept
  };
  std::vector<Ahead> ahead_;  // for a layer that has not begun
  // Of the copies since settle().
  Clock::time_point first_copy_{};
  std::uint64_t copy_bytes_ = 0;
  // Of layers, averaged: from one to the next, and how long the link had nothing to do in between.
  Clock::time_point last_begin_{};
  std::uint64_t bytes_before_ = 0;
  double layer_seconds_ = 0.0;
  double idle_seconds_ = 0.0;
  DeviceTierStats stats_;
};

}  // namespace foregate
