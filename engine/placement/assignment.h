// The cheapest assignment of experts to ranks when every rank takes the same number: exact, by shortest augmenting
// paths over the ranks (min-cost flow on a graph of few nodes). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace foregate {

// costs[expert * ranks + rank], finite. Each rank takes at most `capacity`; ranks * capacity >= experts.
// O(experts^2 * ranks). Equal costs: the lower rank.
std::vector<std::int32_t> cheapest_assignment(std::span<const double> costs, std::int32_t ranks, std::int32_t capacity);

}  // namespace foregate
