// One restart of the search for token-stays: a clustered layer, its neighbours placed outward from it, then sweeps in
// which each layer in turn is placed best for its neighbours. Pure; used by solver.cpp.
#pragma once

#include "engine/placement/clusters.h"
#include "engine/placement/solver.h"

namespace foregate {

// Every layer's number of experts is a multiple of the ranks. Adds the sweeps it made to `sweeps`.
std::vector<LayerHomes> search_stays(const Affinity& affinity, const SolverOptions& options, std::int32_t restart,
                                     std::int32_t& sweeps);

// Renames the ranks of each layer so that the most mass stays between it and the layer before; which experts are
// together does not change. True when something improved.
bool align_ranks(const Affinity& affinity, std::int32_t ranks, std::vector<LayerHomes>& homes);

}  // namespace foregate
