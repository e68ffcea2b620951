// Moves packed weights from host memory to a device that the host does not see into. They are the same bytes there.
// Called once at load.
#pragma once

#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_weights.h"
#include "engine/model/weight_loader.h"
#include "engine/model/weight_plan.h"

namespace foregate {

// Every piece of weights.memory moves and its host copy is freed; what `items` filled points to the device afterwards.
// kResourceExhausted, with the numbers, when the device has too little memory; kUnavailable when it failed.
Status move_weights(const std::vector<WeightItem>& items, const DeviceTarget& target, ModelWeights& weights);

}  // namespace foregate
