#include <algorithm>
#include <numeric>

#include "engine/sched/policy.h"

namespace foregate {

std::vector<std::size_t> priority_order(std::span<const PolicyView> views) {
  std::vector<std::size_t> order(views.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    if (views[a].priority != views[b].priority) return views[a].priority < views[b].priority;
    return views[a].id < views[b].id;
  });
  return order;
}

}  // namespace foregate
