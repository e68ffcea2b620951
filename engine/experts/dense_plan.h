// How a budget for the dense weights of layers becomes a window: which layers stay in memory and which pass through a
// ring of slots. Pure.
//
// Layers run one after another, in every step the same, so what was used last is needed last: of a window that keeps
// the most recent ones nothing is ever found. Kept are fixed layers, spread evenly, so that the reads of the others
// have the time of all of them; those pass through two slots, one in use and one being read (TPI-LLM's window, the
// least there is).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace foregate {

inline constexpr std::size_t kDenseSlots = 2;

struct DensePlan {
  std::vector<bool> streamed;    // by layer; none: all stay in memory
  std::uint64_t slot_bytes = 0;  // of one slot of the ring; 0: no ring
  std::uint64_t bytes = 0;       // of the layers that stay, and of the ring
  std::uint64_t step_bytes = 0;  // that every step reads
  std::size_t layers_streamed() const;
  bool streams(LayerId layer) const { return !streamed.empty() && streamed[static_cast<std::size_t>(layer.value)]; }
};

// `layers`: bytes of the dense weights of each. kInvalidArgument (field dense_memory) with the numbers when the budget
// does not hold two layers.
Result<DensePlan> plan_dense_window(std::span<const std::uint64_t> layers, std::uint64_t budget_bytes);

}  // namespace foregate
