#include "engine/model/moe_offload.h"

#include "engine/model/draft_routes.h"
#include "engine/model/expert_tally.h"
#include "engine/model/leased_groups.h"
#include "engine/model/moe_block.h"
#include "engine/model/route_memory.h"
#include "engine/model/route_tap.h"
#include "engine/model/routing.h"

namespace foregate {

Result<int> run_moe_offload(const Step& step, LayerId id, const ModelWeights& weights, ExpertStore& store,
                            Lookahead* lookahead) {
  StepScratch& s = step.scratch;
  const LayerWeights& layer = weights.layers[static_cast<std::size_t>(id.value)];
  route_layer(step, id, layer);
  group_by_expert(step);
  store.begin(use_of(step, id));
  if (step.tally != nullptr) step.tally->used(step, id, &store);
  if (step.tap != nullptr) step.tap->tell(step, id, &store);
  if (step.drafts != nullptr) step.drafts->note(step, id, &store, nullptr);
  if (step.routes != nullptr) step.routes->note(step, id);
  const bool next_routed = route_next_layer(step, id, weights.layers);
  if (next_routed && lookahead != nullptr) lookahead->announce(step, LayerId{id.value + 1}, s.next_route, store);
  if (lookahead != nullptr) lookahead->after_routing(step, id, weights.layers, store);
  RETURN_IF_ERROR(run_leased(store, s.group_experts, s.groups, s.arrived_groups, [&](std::span<ExpertGroup> groups) {
    run_groups(step, groups);
    step.stream.synchronize();
  }));
  combine_groups(step, layer);  // INV-17: in slot order, whatever the order of arrival was
  return static_cast<int>(s.groups.size());
}

}  // namespace foregate
