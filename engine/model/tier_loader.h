// Puts slots on a device in front of the store that make_store() made. Called once at load.
#pragma once

#include "engine/base/status.h"
#include "engine/model/model_weights.h"
#include "engine/model/store_loader.h"
#include "engine/model/weight_loader.h"

namespace foregate {

// Sets weights.tier by loading.tier, and fills it where loading.warm says so. As DeviceTier::create() and warm() fail.
Status make_tier(const ExpertLoading& loading, const DeviceTarget& target, ModelWeights& weights);

}  // namespace foregate
