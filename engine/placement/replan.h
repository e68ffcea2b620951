// The next plan of a server that runs: what the solver finds for the rows of late, taken over by a bounded number of
// moves, and only where that is worth it. A move brings an expert to a rank that did not hold it. Pure.
#pragma once

#include <cstddef>
#include <optional>

#include "engine/placement/replicate.h"
#include "engine/placement/solver.h"

namespace foregate {

struct ReplanOptions {
  std::size_t max_moves = 32;
  double hysteresis = 0.05;  // what all moves together must lower the objective by, as a share, for any to be made
  double max_imbalance = 1.1;
  std::int32_t copies = 0;  // ReplicaOptions::per_rank
  std::int32_t restarts = 2;
  std::uint64_t seed = 0;
};

struct Replan {
  PlacementPlan plan;
  std::size_t moves = 0;
  double before = 0.0;  // ranks that a row's experts of one layer are on, mean, with copies
  double after = 0.0;   // these moves
  double target = 0.0;  // all that are wanted, of which max_moves cuts the rest off
};

// By distinct-devices. None: `now` stays. `layer_of[i]` is the plan's number of the rows' layer i. As solve_placement()
// fails.
Result<std::optional<Replan>> replan(const PlacementPlan& now, std::span<const LayerId> layer_of, const RouteRows& rows,
                                     const ReplanOptions& options);

}  // namespace foregate
