// How a budget becomes slots, and which experts fill them first. Pure functions, which the store and the replay of a
// trace share, so that both hold the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_key.h"
#include "engine/experts/expert_numbers.h"
#include "engine/experts/use_counters.h"

namespace foregate {

// A layer of a prompt needs most experts. Of `slots` in all it loads so many at a time, its own and those of the next
// layer, and hands them out in that order: what was used is judged by the policy beside the rest before the next load
// takes a slot. So a prompt passes through few slots instead of emptying all, and what it leaves there does not depend
// on the timing of its reads. Half are used while the others are read.
std::size_t prompt_window(std::size_t slots);
// Of `slots` of one size, those that may hold experts of a layer that has not begun.
inline std::size_t most_ahead(std::size_t slots) {
  return slots / 4;
}

// Whether a layer of a decode step is swept, that is, read as one of a prompt: it uses `experts` of its own, and if all
// `layers` that have experts do so, a step needs more than the `slots` hold. Then most of it is read in every step,
// whatever stays, and it is more than the window.
bool is_sweep(std::size_t experts, std::size_t layers, std::size_t slots);

using ExpertSizes = std::map<std::uint64_t, std::size_t>;  // bytes of an expert -> experts of that size

struct SlotGroup {
  std::uint64_t bytes = 0;  // of one slot
  std::size_t slots = 0;
};

// Slots for each size, ascending; the budget (all experts at most) is shared in the proportion of their bytes.
// kInvalidArgument (field expert_memory) with the numbers when it holds less than top_k + 1 experts of a size.
Result<std::vector<SlotGroup>> plan_slots(const ExpertSizes& sizes, std::int32_t top_k, std::uint64_t budget_bytes);

// The least budget of which `experts` experts get so many slots in all, where they are of one size.
std::uint64_t budget_for_slots(const ExpertSizes& sizes, std::uint64_t slots);

// All experts, those that the counters say are used most first; equals by their number, so that each layer gets its
// part. The counters may be empty.
std::vector<ExpertKey> warm_order(const ExpertNumbers& numbers, const UseCounters& counters);

}  // namespace foregate
