// Finds a placement from a sample of rows: which rank each expert should be on so that little crosses between ranks and
// no rank has much more to do than another. Pure and deterministic; nothing here knows where the rows came from.
//
// token-stays (ExFlow, arXiv 2401.08383): a token goes on where its expert was, so what counts is transitions between
// adjacent layers that cross. With the neighbours of a layer fixed, its best placement is an assignment problem, solved
// exactly; sweeps over the layers repeat that until nothing improves.
// distinct-devices: a token returns home after each layer, so what counts is how many ranks its experts of a layer are
// on; clusters of experts chosen together, refined by exchanges that are counted exactly over the rows.
// With several nodes either is done twice (after ExFlow's hierarchy): experts to nodes, then those of each node to its
// ranks, by what remains of the rows there.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/placement/measure.h"

namespace foregate {

enum class Objective { kTokenStays, kDistinctDevices };
Result<Objective> objective_named(std::string_view name);
const char* objective_name(Objective objective);

struct SolverOptions {
  Objective objective = Objective::kTokenStays;
  std::int32_t ranks = 1;
  std::int32_t nodes = 1;      // ranks / nodes neighbours are on each: what crosses between nodes counts first
  double max_imbalance = 1.1;  // of a layer's load where that can be had with as many experts on every rank
  std::int32_t restarts = 4;
  std::int32_t max_sweeps = 20;
  std::uint64_t seed = 0;
};

struct Solution {
  std::vector<LayerHomes> homes;   // of the layers of the rows
  PlacementFigures figures;        // over these rows
  PlacementFigures between_nodes;  // likewise, of the nodes instead of the ranks
  double bound = 0.0;              // of what the objective minimises: no placement is below
  std::int32_t sweeps = 0;         // over all restarts

  double objective(Objective which) const {
    return which == Objective::kTokenStays ? figures.crossings : figures.distinct;
  }
};

// Checked: ids within their layers, one row at least, 1 to kMaxRanks ranks and no more than the experts of any layer, a
// multiple of the nodes.
Result<Solution> solve_placement(const RouteRows& rows, const SolverOptions& options);

}  // namespace foregate
