// The attention block: projections, query and key norms, rotation, cache write, paged attention.
#pragma once

#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// scratch.delta = attention(scratch.normed); k and v of the rows go to their slots of `pages`.
void run_attention(const Step& step, const AttentionWeights& weights, const LayerConfig& layer, const KvPages& pages);

}  // namespace foregate
