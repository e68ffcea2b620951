#include "engine/model/moe_resident.h"

#include "engine/model/moe_block.h"
#include "engine/model/route_tap.h"
#include "engine/model/routing.h"

namespace foregate {

int run_moe_resident(const Step& step, LayerId id, const ModelWeights& weights) {
  StepScratch& s = step.scratch;
  const LayerWeights& layer = weights.layers[static_cast<std::size_t>(id.value)];
  route_layer(step, id, layer);
  route_next_layer(step, id, weights.layers);
  group_by_expert(step);
  if (step.tap != nullptr) step.tap->tell(step, id, nullptr);
  for (std::size_t i = 0; i < s.groups.size(); ++i) {
    s.groups[i].weights = weights.experts.get({id, ExpertId{s.group_experts[i]}});
  }
  run_groups(step, s.groups);
  combine_groups(step, layer);
  return static_cast<int>(s.groups.size());
}

}  // namespace foregate
