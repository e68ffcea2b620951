// A tier of a sample of layers that holds no bytes: which of their experts a policy would have in memory, from the same
// uses. Part of the choice between policies (auto_policy.cpp). Pure and deterministic; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/experts/eviction.h"
#include "engine/experts/expert_numbers.h"

namespace foregate {

class ShadowTier {
 public:
  // Begins empty, with room for `slots` experts.
  ShadowTier(const ExpertNumbers& numbers, std::size_t slots) : slots_(slots), resident_(numbers.size()) {}

  // A use of a sampled layer that `policy` knows of already; the experts that were missing.
  std::size_t use(const LayerUse& use, const ExpertNumbers& numbers, const EvictionPolicy& policy);
  std::uint64_t hits() const { return hits_; }
  void set_slots(std::size_t slots) { slots_ = slots; }  // from its next use on

 private:
  using Valued = std::pair<double, ExpertKey>;

  std::size_t slots_;
  std::vector<ExpertKey> held_;
  std::vector<bool> resident_;  // by expert number
  std::vector<Valued> may_go_;  // of one call
  std::uint64_t hits_ = 0;
};

}  // namespace foregate
