// Executes the plan of a packed model: takes memory, reads every unit of the plan straight into it, points the weights
// at their places. Nothing is converted or copied. One allocation per layer, as the other loader has it.
#pragma once

#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_weights.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/packed_reader.h"
#include "kernels/api/device.h"

namespace foregate {

// kResourceExhausted when the device has too little memory, else as read_units() fails.
Status load_packed(const PackedModel& packed, const std::vector<WeightItem>& items, Device& device,
                   const UnitReadOptions& options, const ReadProgress& progress, ModelWeights& weights);

}  // namespace foregate
