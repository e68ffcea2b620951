// Where a row goes on when tokens stay where their experts are (ExFlow, arXiv 2401.08383). Pure, so that every rank
// says the same of the same row.
#pragma once

#include <cstdint>
#include <span>

#include "engine/placement/plan.h"

namespace foregate {

// After a layer was routed: `here` when it holds any of the row's experts, else the rank that holds most of them. Of
// equals the one whose first expert comes first in `ids`, which fall by score; of those the lowest.
RankId next_rank(const PlacementPlan& plan, RankId here, LayerId layer, std::span<const std::int32_t> ids);
// Which rank computes an expert that the row's rank lacks: rank 0 where it has a copy, else the home.
RankId helping_rank(const PlacementPlan& plan, LayerId layer, ExpertId expert);

// Times that a row is sent on its way between two ranks: all lines are rank 0's.
inline int hops(RankId from, RankId to) {
  if (from == to) return 0;
  return from == RankId{0} || to == RankId{0} ? 1 : 2;
}

}  // namespace foregate
