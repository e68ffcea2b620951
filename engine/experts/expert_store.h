// Experts that need not all be in memory: the engine asks for those of a layer and gets leases, the ones that are there
// first, each of the others when it has arrived. Which stay is the policy's choice (eviction.h). All of it belongs to
// the engine thread but the reads, which go on beside it (transfer.h).
//
// Invariants (engine/README.md): a leased or awaited expert is never evicted (INV-14); what a lease shows passed its
// checksum, unless that was switched off (INV-15); after a failed layer nothing is pinned and the store serves on
// (INV-16).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/api/hint_bytes.h"
#include "engine/base/status.h"
#include "engine/experts/elastic_slots.h"
#include "engine/experts/eviction.h"
#include "engine/experts/expert_table.h"
#include "engine/experts/link_clock.h"
#include "engine/experts/lookahead_gate.h"
#include "engine/experts/prompt_forecast.h"
#include "engine/experts/slot_plan.h"
#include "engine/experts/slot_pool.h"
#include "engine/experts/transfer.h"
#include "kernels/api/device.h"
#include "kernels/api/page_source.h"

namespace foregate {

// The flavour in which boot and tests leave all experts of every model on disk, with evict_at_release.
#ifdef FOREGATE_EVICT_AT_RELEASE
inline constexpr bool kEvictAtRelease = true;
#else
inline constexpr bool kEvictAtRelease = false;
#endif

// Slots whose number changes between steps (elastic_slots.h): from least_bytes of them to most_bytes.
struct ElasticSlotOptions {
  PageSource* pages = nullptr;  // where their memory comes from; must outlive the store. Null: their number stays
  std::uint64_t least_bytes = 0;
  std::uint64_t most_bytes = 0;
};

struct StoreOptions {
  std::uint64_t budget_bytes = 0;  // of slots, at the start
  ElasticSlotOptions elastic = {};
  std::string policy = "auto";  // as make_eviction_policy() takes it
  TransferOptions transfer = {};
  bool read_prompts_ahead = true;  // while a layer of a prompt runs, experts of the next one
  bool sweep = true;               // layers of decode steps where is_sweep() says so: likewise
  bool evict_at_release = false;   // nothing stays, and is spoiled: finds every use after release
  UseCounters counters = {};       // of an earlier run
  // Of which experts loads begin before a layer asks for them, at warm() and for prompts; empty: of all. The others are
  // those of other ranks.
  std::function<bool(ExpertKey)> own = {};
  LinkTimes expected = {};                            // what link_times() says until it has measured them
  std::function<void(const UseCounters&)> save = {};  // called at destruction with those of this run; may be empty
};

struct StoreStats {
  std::uint64_t hits = 0;    // experts of layers that were in memory when asked for
  std::uint64_t misses = 0;  // that were not, on their way by a hint or not
  std::uint64_t late = 0;    // of the misses: hinted but not there yet
  std::uint64_t evictions = 0;
  std::uint64_t hints = 0;           // loads begun ahead of use
  std::uint64_t hints_useful = 0;    // used before they were evicted
  std::uint64_t hints_wasted = 0;    // their layer ran without them, the load failed, or the step was given up
  std::uint64_t certain = 0;         // experts announced for layers
  std::uint64_t certain_right = 0;   // that these layers used: all, but for steps given up
  std::uint64_t certain_hints = 0;   // loads begun for them ahead of their layer
  std::uint64_t certain_useful = 0;  // there when it began
  std::uint64_t certain_late = 0;    // on their way then
  std::uint64_t token_hints = 0;     // of the hints: by tokens of the next step, before it began
  std::uint64_t token_hints_useful = 0;
  std::uint64_t token_hints_wasted = 0;
  HintBytes hint_bytes;            // of hints
  HintBytes certain_bytes;         // of loads for what was announced
  std::uint64_t ahead = 0;         // of prompts: loads begun for the layer after the one that ran
  std::uint64_t ahead_useful = 0;  // that it used; they count as misses, whether they had arrived or not
  std::uint64_t ahead_late = 0;    // of them: on their way when it began
  std::uint64_t ahead_wasted = 0;  // it did not use them, or the load failed, or the step was given up
  std::uint64_t sweeps = 0;        // layers of decode steps that were swept
  // Loads of an expert beyond the first since its layer ran last; 0: each is read at most once per layer and step.
  std::uint64_t repeated_loads = 0;
  double stall_seconds = 0.0;  // the engine thread waited with nothing ready
  std::uint64_t slots = 0;
  std::uint64_t slots_used = 0;  // not empty
  std::uint64_t slot_bytes = 0;  // of all slots
  TransferStats transfer;
};

// Where a hint comes from: an earlier layer of the step, or the tokens of the step to come.
enum class HintKind : std::uint8_t { kLayer, kToken };

// Of the slots at most one in so many holds a hint that is not used yet.
inline constexpr std::size_t kHintShare = 8;

class ExpertStore;

// One expert in memory, pinned until the lease is given back. Move-only; of the engine thread.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept { *this = std::move(other); }
  Lease& operator=(Lease&& other) noexcept;
  ~Lease() { release(); }
  void release();
  explicit operator bool() const { return store_ != nullptr; }
  ExpertId expert() const { return key_.expert; }
  ExpertKey key() const { return key_; }
  ExpertWeights weights() const;   // CHECKs that the slot holds it still
  const std::byte* bytes() const;  // likewise: of its whole range

 private:
  friend class ExpertStore;
  Lease(ExpertStore* store, std::size_t pool, std::size_t slot, std::uint64_t generation, ExpertKey key)
      : store_(store), pool_(pool), slot_(slot), generation_(generation), key_(key) {}
  ExpertStore* store_ = nullptr;
  std::size_t pool_ = 0;
  std::size_t slot_ = 0;
  std::uint64_t generation_ = 0;
  ExpertKey key_{};
};

class ExpertStore final : public ElasticSlots {
 public:
  // kInvalidArgument (field expert_memory) with the numbers when the budget holds less than top_k + 1 experts of a
  // size, kResourceExhausted when the device has too little memory.
  static Result<std::unique_ptr<ExpertStore>> create(ExpertTable table, const StoreOptions& options, Device& device,
                                                     std::unique_ptr<ReadQueue> queue);
  ~ExpertStore() override;

  // Fills empty slots, before the first step: with the experts that the counters say are used most, where they say
  // nothing with some of every layer. The first failed load ends it. `progress` gets bytes so far and in all; it may be
  // empty.
  Status warm(const std::function<void(std::uint64_t, std::uint64_t)>& progress);

  // Begins a layer of a step: pins the experts that are there, starts to load the others, as many as find a slot, of a
  // prompt prompt_window(); the rest follow as leases are released, and of a prompt those of the next layer that it
  // will use by PromptForecast. Before next() is asked again, leases must be given back. One layer at a time.
  void begin(const LayerUse& use);
  // Rows of a draft stood that a step before used the store for: the policy is told of them, as of a step of their own.
  // Between steps.
  void count(const LayerUse& use);
  // Leases of experts of the layer that are ready and were not handed out yet, in falling order of arrival; waits when
  // none is. Empty when all were handed out. An error is the first failed load; what is left of the layer is dropped.
  Result<std::vector<Lease>> next();
  // The step ends here, whatever was loaded ahead of its layers: between layers, for steps that fail elsewhere.
  void give_up_step() { drop_layer(); }
  // Starts to load experts that may be used soon, into slots of the least value; those there or on their way are passed
  // over. At most max_hints() are unused at a time; none while the layer that runs waits for slots.
  void prefetch(std::span<const ExpertKey> keys, HintKind kind = HintKind::kLayer);
  std::size_t max_hints() const { return max_hints_; }
  // What the next layer to begin will use, each expert once: those that are there stay, the others are loaded as slots
  // come free, behind what the running layer waits for. Without `load` it is only counted. begin() ends it; what was
  // announced for another layer is forgotten.
  void announce(LayerId layer, std::span<const std::int32_t> experts, bool load);
  bool resident(ExpertKey key) const;
  bool holds_all() const { return stats_.slots == places_.size(); }
  // Pins an expert beside the layers, whoever runs; empty when it is not there. It takes a slot from those that layers
  // may load into, so it must be given back before a layer waits for slots.
  Lease hold(ExpertKey key);
  // Whether the running layer's begin() counted the expert as a hit, before the first lease is asked for.
  bool found(ExpertKey key) const;
  // While a layer of such a step runs, experts of the next one may be read; of a decode step if the layer is swept.
  bool reads_ahead(UsePhase phase) const {
    return phase == UsePhase::kPrefill ? options_.read_prompts_ahead : options_.sweep;
  }
  bool held(ExpertKey key) const { return places_[numbers_.at(key)].slot >= 0; }  // resident or on its way
  // reuse_chance() of what a load of `key` would evict; 0 when a slot is empty, 1 when none may be evicted.
  double victim_value(ExpertKey key);
  // Of late, `idle` of the layer that runs; StoreOptions::expected before the first loads.
  LinkTimes link_times() const;

  bool elastic() const { return options_.elastic.pages != nullptr; }
  ElasticSlotFigures elastic_figures() const override;
  std::int64_t give_up(std::int64_t bytes) override;
  std::int64_t take(std::int64_t bytes) override;

  StoreStats stats() const;
  const EvictionPolicy& policy() const { return *policy_; }
  const ExpertTable& table() const { return table_; }
  const UseCounters& first_counters() const { return options_.counters; }  // that it began with
  std::shared_ptr<Transfer> transfer() { return transfer_; }               // for weights that are not experts
  std::string_view queue_name() const { return transfer_->queue_name(); }
  // Loads of an expert ahead of its layer, of all kinds.
  struct AheadCount {
    std::uint32_t useful = 0;  // the layer used it
    std::uint32_t wasted = 0;  // it did not
  };
  const std::vector<AheadCount>& ahead_counts() const { return ahead_counts_; }  // by expert number

 private:
  friend class Lease;
  struct Place {
    std::size_t pool = 0;
    std::int64_t slot = -1;
  };
  struct Hint {
    ExpertKey key;
    HintKind kind = HintKind::kLayer;
  };
  ExpertStore(ExpertTable table, const StoreOptions& options);
  Status make_pools(Device& device);
  Result<SlotPool> make_elastic_pool(const SlotGroup& group);
  void resized();
  bool free_slot(std::size_t pool);
  void settle_hints(const LayerUse& use);
  bool start_load(ExpertKey key, bool hint);
  void evict(std::size_t pool, std::size_t slot);
  void start_pending();
  void collect(bool wait);
  void arrived(const LoadEnd& end);
  bool loading() const;
  void forget_hints();
  void drop_hint(const Hint& hint);
  void count_wasted(const Hint& hint);
  void waste(ExpertKey key, HintBytes& bytes);
  void dropped_arrived(const LoadEnd& end, bool awaited);
  std::uint64_t bytes_of(ExpertKey key) const { return table_.extents[numbers_.at(key)].bytes; }
  void start_certain();
  void settle_certain(const LayerUse& use);
  void forget_certain();
  bool sweeps(const LayerUse& use) const;
  void forget_loads();
  void begin_prompt(const LayerUse& use, const LayerUse& counted);
  void settle_ahead(const LayerUse& use);
  void read_ahead();
  bool may_read_ahead(const SlotPool& pool) const;
  std::size_t in_window() const { return order_.size() - given_back_ + ahead_.size(); }
  bool in_order(ExpertKey key) const;
  void hand_over_in_order();
  bool ahead_failed(ExpertKey key);
  void end_prompt();
  void drop_in_vain();
  void drop_slot(ExpertKey key);
  void unpin(std::vector<ExpertKey>& keys);
  void forget_ahead();
  SlotPool& pool_of(ExpertKey key) { return pools_[places_[numbers_.at(key)].pool]; }
  std::size_t slot_of(ExpertKey key) const { return static_cast<std::size_t>(places_[numbers_.at(key)].slot); }
  void drop_layer();
  Lease lease(ExpertKey key);
  void release(const Lease& lease);

  ExpertTable table_;
  StoreOptions options_;
  ExpertNumbers numbers_;
  std::unique_ptr<EvictionPolicy> policy_;
  CountedUse counted_;
  std::vector<SlotPool> pools_;
  std::vector<std::size_t> least_slots_;  // of each, where their number changes
  std::vector<Place> places_;             // by expert number
  std::vector<AheadCount> ahead_counts_;
  std::size_t sparse_layers_ = 0;
  std::vector<std::uint32_t> loads_begun_;  // by expert number, since its layer ran last
  LayerId last_layer_{-1};                  // that ran
  std::shared_ptr<Transfer> transfer_;
  std::size_t max_hints_ = 0;
  std::vector<Hint> hinted_;  // loaded or loading ahead, their layer has not run since
  struct Dropped {
    std::size_t number = 0;      // of the expert
    HintBytes* bytes = nullptr;  // where it counts
  };
  std::vector<Dropped> dropped_;  // loaded ahead in vain, still on their way

  struct Certain {
    ExpertKey key;
    bool loaded = false;  // by the announcement
  };
  std::vector<Certain> certain_;  // announced, their layer has not begun
  std::size_t certain_next_ = 0;  // from here on they wait for a slot

  void note_times(const LayerUse& use);

  // What the link did of late.
  TransferStats seen_;           // until the last of them
  double recent_bytes_ = 0.0;    // read, decayed,
  double recent_seconds_ = 0.0;  // in so long
  LinkClock clock_;

  // The layer that runs.
  std::vector<ExpertKey> ready_;    // pinned, to be handed out
  std::vector<ExpertKey> awaited_;  // pinned, loading
  std::vector<ExpertKey> pending_;  // not begun yet; the last one is next
  // Of a layer of a prompt or a sweep: its loads in the order in which they began and are handed out, and those given
  // back.
  bool in_order_ = false;
  std::vector<ExpertKey> order_;
  std::size_t handed_out_ = 0;
  std::size_t given_back_ = 0;
  std::vector<ExpertKey> in_vain_;  // read ahead for it and not used: pinned until it ends
  // Of the layer after it: what the step will use, ascending; those that are there are pinned, the others are loaded.
  std::size_t window_ = 0;  // prompt_window()
  PromptForecast forecast_;
  std::vector<ExpertKey> wanted_;
  std::size_t wanted_next_ = 0;
  bool kept_all_ = false;
  std::vector<ExpertKey> kept_;
  std::vector<ExpertKey> ahead_;   // loading or loaded, in the order in which they began
  std::vector<ExpertKey> joined_;  // of the awaited: their loads were under way when the layer began
  Status fault_;
  std::vector<LoadEnd> ends_;
  std::vector<LoadJob> jobs_;
  StoreStats stats_;
};

}  // namespace foregate
