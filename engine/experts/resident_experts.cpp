#include "engine/experts/resident_experts.h"

#include "kernels/api/check.h"

namespace foregate {

void ResidentExperts::add_layer(int experts) {
  layers_.emplace_back(static_cast<std::size_t>(experts));
}

int ResidentExperts::experts(LayerId layer) const {
  CHECK(layer.value >= 0 && layer.value < layers());
  return static_cast<int>(layers_[static_cast<std::size_t>(layer.value)].size());
}

const ExpertWeights& ResidentExperts::get(ExpertKey key) const {
  CHECK(key.expert.value >= 0 && key.expert.value < experts(key.layer));
  return layers_[static_cast<std::size_t>(key.layer.value)][static_cast<std::size_t>(key.expert.value)];
}

ExpertWeights& ResidentExperts::slot(ExpertKey key) {
  return const_cast<ExpertWeights&>(get(key));
}

}  // namespace foregate
