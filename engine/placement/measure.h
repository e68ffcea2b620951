// What a plan costs rows that were routed: how much crosses between ranks, how many ranks a token touches, how even the
// load is. Pure.
#pragma once

#include "engine/placement/affinity.h"
#include "engine/placement/plan.h"

namespace foregate {

struct PlacementFigures {
  // Of the pairs (expert of a row in a layer, expert of the row in the next layer): the share on different ranks. With
  // top-1 that is how often a token moves when it stays where its expert was.
  double crossings = 0.0;
  double distinct = 1.0;        // ranks that a row's experts of one layer are on, mean
  double imbalance = 1.0;       // most loaded rank over the mean rank, of the worst layer
  double mean_imbalance = 1.0;  // mean over layers
};

// Which of `nodes` each home is on, `ranks / nodes` neighbours together: to measure what crosses between nodes.
std::vector<LayerHomes> nodes_of(std::vector<LayerHomes> homes, std::int32_t ranks, std::int32_t nodes);

// `homes[i]` places layer i of the rows. Copies are not used.
PlacementFigures measure(const std::vector<LayerHomes>& homes, std::int32_t ranks, const RouteRows& rows);

// The same with copies: an expert's row goes to a rank that the row touches anyway when one holds it, else to the
// holder with the least load so far. `layer_of[i]` is the plan's number of the rows' layer i.
PlacementFigures measure(const PlacementPlan& plan, std::span<const LayerId> layer_of, const RouteRows& rows);

}  // namespace foregate
