// One restart of the search for distinct-devices, a layer at a time: clusters of experts chosen together, then
// exchanges of two experts whose effect on the rows is counted exactly. Pure; used by solver.cpp.
#pragma once

#include "engine/placement/clusters.h"
#include "engine/placement/solver.h"

namespace foregate {

// Every layer's number of experts is a multiple of the ranks. Adds the passes over experts it made to `sweeps`.
std::vector<LayerHomes> search_distinct(const RouteRows& rows, const Affinity& affinity, const SolverOptions& options,
                                        std::int32_t restart, std::int32_t& sweeps);

}  // namespace foregate
