#include "engine/model/moe_resident.h"

#include "engine/model/moe_block.h"

namespace foregate {

int run_moe_resident(const Step& step, LayerId id, const LayerWeights& weights, const ResidentExperts& experts) {
  StepScratch& s = step.scratch;
  route_and_group(step, weights);
  for (std::size_t i = 0; i < s.groups.size(); ++i) {
    s.groups[i].weights = experts.get({id, ExpertId{s.group_experts[i]}});
  }
  run_groups(step, s.groups);
  combine_groups(step, weights);
  return static_cast<int>(s.groups.size());
}

}  // namespace foregate
