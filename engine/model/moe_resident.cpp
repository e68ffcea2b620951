#include "engine/model/moe_resident.h"

#include "engine/model/draft_routes.h"
#include "engine/model/expert_tally.h"
#include "engine/model/moe_block.h"
#include "engine/model/route_tap.h"
#include "engine/model/routing.h"

namespace foregate {

namespace {

// How many experts a layer met is known on the device; a step brings the counts at its end.
void run_routed_by_device(const Step& step, LayerId id, const ModelWeights& weights) {
  const auto at = static_cast<std::size_t>(id.value);
  StepScratch& s = step.scratch;
  const std::int64_t hidden = step.config.hidden_size;
  const std::int32_t top_k = step.config.router.top_k;
  route_layer(step, id, weights.layers[at]);
  route_next_layer(step, id, weights.layers);
  step.ops.moe_ffn(step.stream, MoeFfnArgs{.x = step.block_in(),
                                           .ids = s.route.ids,
                                           .weights = s.route.weights,
                                           .top_k = top_k,
                                           .experts = weights.device_experts[at],
                                           .activation = step.config.activation,
                                           .y = {s.expert_out, step.rows * top_k, hidden, hidden},
                                           .scratch = s.ffn_inner,
                                           .out = step.block_out(),
                                           .distinct = s.distinct_experts + at});
  add_shared_expert(step, weights.layers[at]);
}

}  // namespace

int run_moe_resident(const Step& step, LayerId id, const ModelWeights& weights) {
  if (!step.host_routes) {
    run_routed_by_device(step, id, weights);
    return 0;
  }
  StepScratch& s = step.scratch;
  const LayerWeights& layer = weights.layers[static_cast<std::size_t>(id.value)];
  route_layer(step, id, layer);
  route_next_layer(step, id, weights.layers);
  group_by_expert(step);
  if (step.tally != nullptr) step.tally->used(step, id, nullptr);
  if (step.tap != nullptr) step.tap->tell(step, id, nullptr);
  if (step.drafts != nullptr) step.drafts->note(step, id, nullptr, nullptr);
  for (std::size_t i = 0; i < s.groups.size(); ++i) {
    s.groups[i].weights = weights.experts.get({id, ExpertId{s.group_experts[i]}});
  }
  run_groups(step, s.groups);
  combine_groups(step, layer);
  return static_cast<int>(s.groups.size());
}

}  // namespace foregate
