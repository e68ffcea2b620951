#include "engine/sched/expert_batch.h"

#include <algorithm>

namespace foregate {
namespace {

// The step in the making.
struct Forming {
  std::vector<std::uint8_t> there;  // by expert: in memory, or loaded for somebody in the step
  double sequences = 0;
  double loads = 0;

  std::int32_t missing(const ExpertBatchView& view) const {
    return static_cast<std::int32_t>(std::ranges::count_if(
        view.experts, [this](std::int32_t expert) { return there[static_cast<std::size_t>(expert)] == 0; }));
  }
  void take(const ExpertBatchView& view) {
    loads += missing(view);
    ++sequences;
    for (const std::int32_t expert : view.experts) there[static_cast<std::size_t>(expert)] = 1;
  }
  bool gains(std::int32_t more, const ExpertBatchCost& cost) const {
    return cost.step_seconds + loads * cost.load_seconds >= sequences * more * cost.load_seconds;
  }
};

}  // namespace

std::vector<std::size_t> hold_back(std::span<const ExpertBatchView> views, std::span<const std::uint8_t> resident,
                                   const ExpertBatchCost& cost, std::int32_t max_held_back) {
  std::vector<std::size_t> left;
  Forming step{{resident.begin(), resident.end()}};
  for (std::size_t i = 0; i < views.size(); ++i) {
    const bool runs = i == 0 || views[i].experts.empty() || views[i].held_back >= max_held_back;
    if (runs) {
      step.take(views[i]);
    } else {
      left.push_back(i);
    }
  }
  while (!left.empty()) {
    const auto next = std::ranges::min_element(left, {}, [&](std::size_t i) { return step.missing(views[i]); });
    if (!step.gains(step.missing(views[*next]), cost)) break;
    step.take(views[*next]);
    left.erase(next);
  }
  return left;
}

}  // namespace foregate
