#include "engine/experts/slot_pool.h"

#include <algorithm>

#include "engine/io/file.h"
#include "kernels/api/check.h"

namespace foregate {

SlotPool::SlotPool(Memory memory, std::uint64_t slot_bytes, std::size_t count)
    : memory_(std::move(memory)), slot_bytes_(slot_bytes), slots_(count) {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory_.data());
  base_ = memory_.data() + (kDirectPage - begin % kDirectPage) % kDirectPage;
  CHECK(slot_bytes % kDirectPage == 0 && base_ + count * slot_bytes <= memory_.data() + memory_.bytes());
  for (std::size_t i = count; i > 0; --i) empty_.push_back(i - 1);
}

std::optional<std::size_t> SlotPool::take_empty() {
  if (empty_.empty()) return std::nullopt;
  const std::size_t slot = empty_.back();
  empty_.pop_back();
  return slot;
}

void SlotPool::begin(std::size_t number, ExpertKey key, bool hinted) {
  Slot& slot = slots_[number];
  CHECK(slot.state == SlotState::kEmpty && slot.pins == 0);
  slot = {.state = SlotState::kLoading, .hinted = hinted, .generation = slot.generation + 1, .key = key};
}

void SlotPool::ready(std::size_t number) {
  CHECK(slots_[number].state == SlotState::kLoading);
  slots_[number].state = SlotState::kReady;
}

void SlotPool::clear(std::size_t number) {
  Slot& slot = slots_[number];
  CHECK(slot.pins == 0 && slot.state != SlotState::kEmpty);
  const std::uint64_t generation = slot.generation;
  slot = Slot();
  slot.generation = generation;
  empty_.push_back(number);
}

void SlotPool::unpin(std::size_t number) {
  CHECK(slots_[number].pins > 0);
  --slots_[number].pins;
}

std::size_t SlotPool::ahead() const {
  const auto is = [](const Slot& slot) { return slot.hinted || (slot.state == SlotState::kLoading && slot.pins == 0); };
  return static_cast<std::size_t>(std::count_if(slots_.begin(), slots_.end(), is));
}

}  // namespace foregate
