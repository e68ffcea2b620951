#include "engine/experts/slot_plan.h"

#include <algorithm>
#include <string>

namespace foregate {
namespace {

struct Sum {
  std::uint64_t bytes = 0;
  std::uint64_t experts = 0;
};

Sum sum_of(const ExpertSizes& sizes) {
  Sum sum;
  for (const auto& [bytes, experts] : sizes) {
    sum.bytes += bytes * experts;
    sum.experts += experts;
  }
  return sum;
}

// The least budget of which `experts` of all, `bytes` in all, get `slots`.
std::uint64_t least_budget(std::uint64_t slots, std::uint64_t experts, std::uint64_t bytes) {
  return (slots * bytes + experts - 1) / experts;
}

}  // namespace

Result<std::vector<SlotGroup>> plan_slots(const ExpertSizes& sizes, std::int32_t top_k, std::uint64_t budget_bytes) {
  const std::uint64_t all = sum_of(sizes).bytes;
  const std::uint64_t budget = std::min(budget_bytes, all);
  const std::size_t wanted = static_cast<std::size_t>(top_k) + 1;
  std::uint64_t least = 0;
  for (const auto& [bytes, experts] : sizes) {
    least = std::max(least, least_budget(std::min(wanted, experts), experts, all));
  }
  if (budget < least) {
    return invalid_argument(std::to_string(budget) + " bytes are too few: a layer needs " + std::to_string(wanted) +
                                " experts at a time, that takes at least " + std::to_string(least) + " bytes of the " +
                                std::to_string(all) + " of all",
                            "expert_memory");
  }
  std::vector<SlotGroup> groups;
  for (const auto& [bytes, experts] : sizes)
    groups.push_back({bytes, static_cast<std::size_t>(budget * experts / all)});
  return groups;
}

std::uint64_t budget_for_slots(const ExpertSizes& sizes, std::uint64_t slots) {
  const Sum sum = sum_of(sizes);
  return sum.experts == 0 ? 0 : least_budget(std::min(slots, sum.experts), sum.experts, sum.bytes);
}

std::size_t prompt_window(std::size_t slots) {
  return std::clamp<std::size_t>(slots / 16, 8, 64);
}

bool is_sweep(std::size_t experts, std::size_t layers, std::size_t slots) {
  return experts > prompt_window(slots) && experts * layers > slots;
}

std::vector<ExpertKey> warm_order(const ExpertNumbers& numbers, const UseCounters& counters) {
  const auto rate = [&counters](ExpertKey key) {
    if (counters.empty()) return 0.0f;
    return counters.rates[static_cast<std::size_t>(key.layer.value)][static_cast<std::size_t>(key.expert.value)];
  };
  std::vector<ExpertKey> keys;
  for (std::int32_t layer = 0; layer < numbers.layers(); ++layer) {
    for (std::int32_t i = 0; i < numbers.experts(LayerId{layer}); ++i) keys.push_back({LayerId{layer}, ExpertId{i}});
  }
  std::stable_sort(keys.begin(), keys.end(), [&](const ExpertKey& a, const ExpertKey& b) {
    return rate(a) != rate(b) ? rate(a) > rate(b) : a.expert < b.expert;
  });
  return keys;
}

}  // namespace foregate
