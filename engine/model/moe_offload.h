// The MoE block with experts in a store that may be smaller than all of them: those that are in memory run first, each
// of the others when it has arrived. The same bits as moe_resident.h gives.
#pragma once

#include "engine/base/status.h"
#include "engine/experts/expert_store.h"
#include "engine/model/lookahead.h"
#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// scratch.delta = MoE(scratch.normed) of layer `id`; the number of experts that ran. Fails as ExpertStore::next() does:
// then nothing of the layer is pinned, and the step must be given up.
// `lookahead` may be null.
Result<int> run_moe_offload(const Step& step, LayerId id, const ModelWeights& weights, ExpertStore& store,
                            Lookahead* lookahead);

}  // namespace foregate
