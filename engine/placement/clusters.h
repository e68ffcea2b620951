// Where the search begins: experts that resemble one another gathered into as many equal clusters as there are ranks.
// Pure; which experts the clusters grow from depends on the generator.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/rng.h"
#include "engine/placement/affinity.h"
#include "engine/placement/plan.h"

namespace foregate {

// Random choices of one restart, the same wherever it runs.
class Draws {
 public:
  Draws(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  std::size_t below(std::size_t count) {
    return static_cast<std::size_t>(uniform01(seed_, stream_, counter_++) * static_cast<double>(count));
  }

 private:
  std::uint64_t seed_, stream_, counter_ = 0;
};

// likeness[n, n] symmetric, n a multiple of ranks. Each cluster grows from a seed by the expert most like its members;
// then experts are reassigned to the clusters they are most like, exactly, while that raises the likeness within.
LayerHomes cluster_experts(std::span<const double> likeness, std::size_t n, std::int32_t ranks, Draws& draws);

// How alike experts of a layer are for token-stays: cosine of what came before and what follows them, plus how often
// they are chosen together.
std::vector<double> transition_likeness(const Affinity& affinity, std::size_t layer);

}  // namespace foregate
