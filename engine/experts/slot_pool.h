// The memory of one tier for experts of one size: equal slots in one slab, and what is in each. States: empty, loading,
// ready, or absent: its memory is the system's. A slot is pinned while a step uses or awaits it. A generation counts
// what a slot held, so that a lease of what was there before is found out. Owned by the store, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/experts/eviction.h"
#include "engine/experts/expert_key.h"
#include "kernels/api/device.h"

namespace foregate {

enum class SlotState : std::uint8_t { kEmpty, kLoading, kReady, kAbsent };

struct Slot {
  SlotState state = SlotState::kEmpty;
  bool hinted = false;  // loaded or kept ahead of use, and not used yet
  std::int32_t pins = 0;
  std::uint64_t generation = 0;
  ExpertKey key;
};

class SlotPool {
 public:
  // `memory` holds count * bytes from a multiple of kDirectPage on. `present` of them are there, the first ones.
  SlotPool(Memory memory, std::uint64_t slot_bytes, std::size_t count)
      : SlotPool(std::move(memory), slot_bytes, count, count) {}
  SlotPool(Memory memory, std::uint64_t slot_bytes, std::size_t count, std::size_t present);

  std::size_t count() const { return slots_.size() - absent_.size(); }  // that are there
  std::size_t most() const { return slots_.size(); }
  std::uint64_t slot_bytes() const { return slot_bytes_; }
  std::byte* data(std::size_t slot) const { return base_ + slot * slot_bytes_; }
  const Slot& slot(std::size_t number) const { return slots_[number]; }

  // An empty slot begins to load `key`.
  std::optional<std::size_t> take_empty();
  bool has_empty() const { return !empty_.empty(); }
  void begin(std::size_t slot, ExpertKey key, bool hinted);
  void ready(std::size_t slot);                                // loading -> ready
  void clear(std::size_t slot);                                // -> empty; it must not be pinned
  void keep(std::size_t slot) { slots_[slot].hinted = true; }  // until used()
  void used(std::size_t slot);
  void pin(std::size_t slot) { ++slots_[slot].pins; }
  void unpin(std::size_t slot);
  std::size_t ahead() const;  // slots held ahead of use, or a load that nobody awaits
  std::size_t used_slots() const { return count() - empty_.size(); }
  // The last of those that are there, which is empty, is absent from now on. Where no other way is used to remove
  // slots, those that are there are the first ones.
  void remove_last();
  std::size_t remove_empty();  // an empty slot, which there must be, is absent from now on; which
  void add_slot();             // one that is absent, of which there must be one, is empty from now on

  // The slot to give up: ready, not pinned, holding no hint, of least keep_value(), equals in key order. None when
  // there is no such slot. Values are asked for once, until values_changed().
  std::optional<std::size_t> least_valuable(const EvictionPolicy& policy);
  void values_changed();

 private:
  // One that could be evicted when it was noted; it counts while the slot still holds the same.
  struct Candidate {
    double value = 0;
    ExpertKey key;
    std::size_t slot = 0;
    std::uint64_t generation = 0;
  };
  bool evictable(std::size_t slot) const;
  void note(std::size_t slot);
  static bool later(const Candidate& a, const Candidate& b);
  Candidate candidate(std::size_t slot, const EvictionPolicy& policy) const;

  Memory memory_;
  std::byte* base_;
  std::uint64_t slot_bytes_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> empty_;
  std::vector<std::size_t> absent_;
  bool valued_ = false;                // candidates_ has all that are evictable but those in noted_
  std::vector<Candidate> candidates_;  // a heap
  std::vector<std::size_t> noted_;     // became evictable since
};

}  // namespace foregate
