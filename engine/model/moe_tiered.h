// The MoE block on a device that does not hold all experts: those that it has run first, the others are brought from
// the host, which gets them from disk, or computed there. Where each was computed shows in its last bits only where the
// host computed it (MissRule::kFetch: never).
#pragma once

#include "engine/base/status.h"
#include "engine/model/host_experts.h"
#include "engine/model/lookahead.h"
#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// scratch.delta = MoE(scratch.normed) of layer `id`; the number of experts that ran. Fails as ExpertStore::next() does:
// then nothing of the layer is pinned, and the step must be given up. `host` and `lookahead` may be null; without
// `host` nothing is computed there.
Result<int> run_moe_tiered(const Step& step, LayerId id, const ModelWeights& weights, HostExperts* host,
                           Lookahead* lookahead);

}  // namespace foregate
