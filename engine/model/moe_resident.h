// The MoE block with all experts in device memory: route, group rows by expert, run the experts,
// combine in slot order, add the shared expert.
#pragma once

#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// scratch.delta = MoE(scratch.normed) of layer `id`; returns the number of experts that ran.
int run_moe_resident(const Step& step, LayerId id, const ModelWeights& weights);

}  // namespace foregate
