// Guards the memory that a step touches: every index of a ForwardInput is inside its array.
#pragma once

#include "engine/model/model.h"
#include "engine/model/model_config.h"

namespace foregate {

// kInternal with the first thing wrong: the caller built the step, no client can cause it.
Status check_forward(const ModelConfig& config, std::int64_t max_rows, const ForwardInput& input, const KvCache& cache,
                     const View2<float>& logits);

}  // namespace foregate
