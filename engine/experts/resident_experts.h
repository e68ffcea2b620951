// Experts that are all in device memory: a plain table from (layer, expert) to packed weights.
// Filled by the loader, const afterwards; readable from any thread.
#pragma once

#include <vector>

#include "engine/experts/expert_key.h"
#include "kernels/api/args_moe.h"

namespace foregate {

class ResidentExperts {
 public:
  // Makes room for the experts of the next layer: 0 for a layer without a router.
  void add_layer(int experts);
  ExpertWeights& slot(ExpertKey key);             // for the loader; stable once all layers are added
  const ExpertWeights& get(ExpertKey key) const;  // CHECKs that the key exists
  int layers() const { return static_cast<int>(layers_.size()); }
  int experts(LayerId layer) const;

 private:
  std::vector<std::vector<ExpertWeights>> layers_;
};

}  // namespace foregate
