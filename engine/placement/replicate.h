// Copies of experts where a plan has room for more: each goes where it gains most, either by taking load from the most
// loaded rank or by sparing rows a further rank. Greedy by marginal gain (EPLB, with a term for locality). Pure.
#pragma once

#include "engine/placement/affinity.h"
#include "engine/placement/plan.h"

namespace foregate {

struct ReplicaOptions {
  std::int32_t per_rank = 0;   // copies that each rank may take in each layer
  double max_imbalance = 1.1;  // above it a layer's copies relieve load first
};

// The plan with copies added; those it has are dropped. `layer_of[i]` is the plan's number of the rows' layer i.
Result<PlacementPlan> replicate(const PlacementPlan& plan, std::span<const LayerId> layer_of, const RouteRows& rows,
                                const ReplicaOptions& options);

}  // namespace foregate
