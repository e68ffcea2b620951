#include "engine/experts/dense_plan.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace foregate {
namespace {

// With `kept` layers in memory, the others spread evenly among them.
DensePlan plan_with(std::span<const std::uint64_t> layers, std::size_t kept) {
  DensePlan plan;
  const std::size_t streamed = layers.size() - kept;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool streams = (i + 1) * streamed / layers.size() > i * streamed / layers.size();
    plan.streamed.push_back(streams);
    if (streams) plan.slot_bytes = std::max(plan.slot_bytes, layers[i]);
    (streams ? plan.step_bytes : plan.bytes) += layers[i];
  }
  plan.bytes += kDenseSlots * plan.slot_bytes;
  return plan;
}

}  // namespace

std::size_t DensePlan::layers_streamed() const {
  return static_cast<std::size_t>(std::count(streamed.begin(), streamed.end(), true));
}

Result<DensePlan> plan_dense_window(std::span<const std::uint64_t> layers, std::uint64_t budget_bytes) {
  if (std::accumulate(layers.begin(), layers.end(), std::uint64_t{0}) <= budget_bytes)
    return plan_with(layers, layers.size());
  for (std::size_t kept = layers.size(); kept-- > 0;) {
    DensePlan plan = plan_with(layers, kept);
    if (plan.bytes <= budget_bytes) return plan;
  }
  return invalid_argument(std::to_string(budget_bytes) +
                              " bytes are too few: the dense weights of two layers, one in " +
                              "use and one being read, need " + std::to_string(plan_with(layers, 0).bytes),
                          "dense_memory");
}

}  // namespace foregate
