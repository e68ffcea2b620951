// The memory of one tier for experts of one size: equal slots in one slab, and what is in each. States: empty, loading,
// ready; a slot is pinned while a step uses or awaits it. A generation counts what a slot held, so that a lease of what
// was there before is found out. Owned by the store, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/experts/expert_key.h"
#include "kernels/api/device.h"

namespace foregate {

enum class SlotState : std::uint8_t { kEmpty, kLoading, kReady };

struct Slot {
  SlotState state = SlotState::kEmpty;
  bool hinted = false;  // loaded ahead of use, and not used yet
  std::int32_t pins = 0;
  std::uint64_t generation = 0;
  ExpertKey key;
};

class SlotPool {
 public:
  // `memory` holds count * bytes from a multiple of kDirectPage on.
  SlotPool(Memory memory, std::uint64_t slot_bytes, std::size_t count);

  std::size_t count() const { return slots_.size(); }
  std::uint64_t slot_bytes() const { return slot_bytes_; }
  std::byte* data(std::size_t slot) const { return base_ + slot * slot_bytes_; }
  const Slot& slot(std::size_t number) const { return slots_[number]; }

  // An empty slot begins to load `key`.
  std::optional<std::size_t> take_empty();
  bool has_empty() const { return !empty_.empty(); }
  void begin(std::size_t slot, ExpertKey key, bool hinted);
  void ready(std::size_t slot);  // loading -> ready
  void clear(std::size_t slot);  // -> empty; it must not be pinned
  void used(std::size_t slot) { slots_[slot].hinted = false; }
  void pin(std::size_t slot) { ++slots_[slot].pins; }
  void unpin(std::size_t slot);
  std::size_t ahead() const;  // slots that a hint holds, or a load that nobody awaits
  std::size_t used_slots() const { return slots_.size() - empty_.size(); }

 private:
  Memory memory_;
  std::byte* base_;
  std::uint64_t slot_bytes_;
  std::vector<Slot> slots_;
  std::vector<std::size_t> empty_;
};

}  // namespace foregate
