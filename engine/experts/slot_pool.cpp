#include "engine/experts/slot_pool.h"

#include <algorithm>

#include "engine/io/file.h"
#include "kernels/api/check.h"

namespace foregate {

SlotPool::SlotPool(Memory memory, std::uint64_t slot_bytes, std::size_t count, std::size_t present)
    : memory_(std::move(memory)), slot_bytes_(slot_bytes), slots_(count) {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory_.data());
  base_ = memory_.data() + (kDirectPage - begin % kDirectPage) % kDirectPage;
  CHECK(slot_bytes % kDirectPage == 0 && base_ + count * slot_bytes <= memory_.data() + memory_.bytes());
  for (std::size_t i = count; i > 0; --i) (i > present ? absent_ : empty_).push_back(i - 1);
  for (const std::size_t number : absent_) slots_[number].state = SlotState::kAbsent;
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
  note(number);
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
  note(number);
}

void SlotPool::used(std::size_t number) {
  slots_[number].hinted = false;
  note(number);
}

bool SlotPool::evictable(std::size_t number) const {
  const Slot& slot = slots_[number];
  return slot.state == SlotState::kReady && slot.pins == 0 && !slot.hinted;
}

void SlotPool::note(std::size_t number) {
  if (valued_ && evictable(number)) noted_.push_back(number);
}

void SlotPool::values_changed() {
  valued_ = false;
  noted_.clear();
}

// Of a heap whose front is the one to give up first.
bool SlotPool::later(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : b.key < a.key;
}

SlotPool::Candidate SlotPool::candidate(std::size_t number, const EvictionPolicy& policy) const {
  const Slot& slot = slots_[number];
  return {policy.keep_value(slot.key), slot.key, number, slot.generation};
}

std::optional<std::size_t> SlotPool::least_valuable(const EvictionPolicy& policy) {
  if (!valued_) {
    candidates_.clear();
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (evictable(i)) candidates_.push_back(candidate(i, policy));
    }
    std::make_heap(candidates_.begin(), candidates_.end(), later);
    valued_ = true;
  }
  for (const std::size_t number : noted_) {
    if (!evictable(number)) continue;
    candidates_.push_back(candidate(number, policy));
    std::push_heap(candidates_.begin(), candidates_.end(), later);
  }
  noted_.clear();
  while (!candidates_.empty()) {
    const Candidate& least = candidates_.front();
    if (evictable(least.slot) && slots_[least.slot].generation == least.generation) return least.slot;
    std::pop_heap(candidates_.begin(), candidates_.end(), later);
    candidates_.pop_back();
  }
  return std::nullopt;
}

std::size_t SlotPool::remove_empty() {
  CHECK(!empty_.empty());
  const std::size_t number = empty_.back();
  empty_.pop_back();
  CHECK(slots_[number].state == SlotState::kEmpty && slots_[number].pins == 0);
  slots_[number].state = SlotState::kAbsent;
  absent_.push_back(number);
  return number;
}

void SlotPool::remove_last() {
  const std::size_t number = count() - 1;
  CHECK(slots_[number].state == SlotState::kEmpty && slots_[number].pins == 0);
  std::erase(empty_, number);
  slots_[number].state = SlotState::kAbsent;
  absent_.push_back(number);
}

void SlotPool::add_slot() {
  CHECK(!absent_.empty());
  const std::size_t number = absent_.back();
  absent_.pop_back();
  slots_[number].state = SlotState::kEmpty;
  empty_.push_back(number);
}

std::size_t SlotPool::ahead() const {
  const auto is = [](const Slot& slot) { return slot.hinted || (slot.state == SlotState::kLoading && slot.pins == 0); };
  return static_cast<std::size_t>(std::count_if(slots_.begin(), slots_.end(), is));
}

}  // namespace foregate
