// What no placement can beat, from the counts alone: how much mass can stay within ranks when each holds the same
// number of experts. Pure. The spectral bound is that of Donath and Hoffman (1973): indicator vectors of ranks are
// orthogonal.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/placement/affinity.h"

namespace foregate {

// Eigenvalues of a symmetric matrix [n, n], descending. O(n^3).
std::vector<double> symmetric_eigenvalues(std::vector<double> matrix, std::size_t n);

// Most of the mass of counts[rows, columns] that any placement with `capacity` experts per rank keeps within ranks.
double stay_bound(std::span<const float> counts, std::size_t rows, std::size_t columns, std::int32_t ranks,
                  std::int32_t capacity);

// Bounds from below for the figures of measure().
double crossings_bound(const Affinity& affinity, std::int32_t ranks);
double distinct_bound(const Affinity& affinity, std::int32_t top_k, std::int32_t ranks);

}  // namespace foregate
