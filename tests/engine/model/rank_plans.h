// What tests of ranks share: plans by rule for a model, and whether rows are the same bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "engine/model/model_source.h"
#include "engine/placement/plan.h"
#include "kernels/api/check.h"

namespace foregate {

using Rows = std::vector<std::vector<float>>;

// Of each layer; 0 where it has none.
inline std::vector<std::int32_t> experts_of(const std::string& dir) {
  const auto model = open_model(local_files(), dir);
  CHECK(model.ok());
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : model->config.layers) {
    experts.push_back(layer.sparse ? model->config.router.experts : 0);
  }
  return experts;
}

inline PlacementPlan plan_for(const std::string& dir, std::int32_t ranks, bool linear) {
  const auto experts = experts_of(dir);
  auto plan = linear ? PlacementPlan::linear(ranks, experts) : PlacementPlan::round_robin(ranks, experts);
  CHECK(plan.ok());
  return std::move(plan).value();
}

inline bool same_bytes(const Rows& a, const Rows& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace foregate
