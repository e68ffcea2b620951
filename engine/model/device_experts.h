// Where a device finds the experts of each layer by itself, so that routes need not pass through the host (MoeFfnArgs).
// Made once after the weights are loaded.
#pragma once

#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/model_weights.h"
#include "kernels/api/device.h"

namespace foregate {

// Fills weights.device_experts, [layers]; a layer whose experts differ in format, or that has none, gets an empty table
// (experts == 0) and is grouped by the host. kResourceExhausted without memory for the pointers.
Status make_device_experts(const ModelConfig& config, Device& device, Stream& stream, ModelWeights& weights);

}  // namespace foregate
