// When a layer's router runs: as soon as what it reads exists. ArchTable::router_source is read here alone. A layer's
// route lies in scratch.route from its FFN on, that of the layer after in scratch.next_route until then.
#pragma once

#include <vector>

#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// Of a sparse layer; the first has none before it and reads its own FFN input.
RouterSource router_source(const ModelConfig& config, LayerId id);

// Before the layer's attention, its input in scratch.hidden. True when the layer is routed by it.
bool route_before_attention(const Step& step, LayerId id, const LayerWeights& layer);
// The layer's FFN input is in scratch.normed: scratch.route is the layer's from here on, its ids on the host.
void route_layer(const Step& step, LayerId id, const LayerWeights& layer);
// After route_layer(), by the same input. True when the layer after it is routed by that.
bool route_next_layer(const Step& step, LayerId id, const std::vector<LayerWeights>& layers);

}  // namespace foregate
