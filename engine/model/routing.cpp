#include "engine/model/routing.h"

#include <utility>

namespace foregate {
namespace {

void run(const Step& step, const LayerWeights& layer, View2<const float> x, const ExpertRoute& out) {
  layer.router.route(step.ops, step.stream, x, step.scratch.router_logits, out.ids, out.weights);
  if (!step.host_routes) return;
  if (out.host_ids != out.ids) {
    const auto assignments = static_cast<std::size_t>(step.rows * layer.router.rule.top_k);
    step.stream.download(out.host_ids, out.ids, assignments * sizeof(std::int32_t));
    step.stream.download(out.host_weights, out.weights, assignments * sizeof(float));
  }
  step.stream.synchronize();  // the ids are read on the host
}

}  // namespace

RouterSource router_source(const ModelConfig& config, LayerId id) {
  const RouterSource source = config.arch->router_source;
  return source == RouterSource::kPreviousFfnInput && id.value == 0 ? RouterSource::kFfnInput : source;
}

bool route_before_attention(const Step& step, LayerId id, const LayerWeights& layer) {
  if (router_source(step.config, id) != RouterSource::kLayerInput) return false;
  run(step, layer, step.read(step.scratch.hidden, step.config.hidden_size), step.scratch.route);
  return true;
}

void route_layer(const Step& step, LayerId id, const LayerWeights& layer) {
  StepScratch& s = step.scratch;
  const RouterSource source = router_source(step.config, id);
  if (source == RouterSource::kFfnInput) run(step, layer, step.block_in(), s.route);
  if (source == RouterSource::kPreviousFfnInput) std::swap(s.route, s.next_route);
}

bool route_next_layer(const Step& step, LayerId id, const std::vector<LayerWeights>& layers) {
  const auto next = static_cast<std::size_t>(id.value) + 1;
  if (next == layers.size() || !step.config.layers[next].sparse) return false;
  if (router_source(step.config, LayerId{id.value + 1}) != RouterSource::kPreviousFfnInput) return false;
  run(step, layers[next], step.block_in(), step.scratch.next_route);
  return true;
}

}  // namespace foregate
