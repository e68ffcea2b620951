#include "engine/model/tier_loader.h"

#include <string>

#include "engine/base/log.h"

namespace foregate {

Status make_tier(const ExpertLoading& loading, const DeviceTarget& target, ModelWeights& weights) {
  DeviceTierOptions options = *loading.tier;
  if (!options.save) options.save = counters_saver(loading, weights.store->table().weights_id);
  const std::uint64_t refused = loading.memory != nullptr ? loading.memory->refused_bytes() : 0;
  const bool pinned = loading.memory != nullptr && refused == 0;
  if (refused > 0) {
    log_warn(std::to_string(refused) +
             " bytes of host memory for experts could not be pinned: they go to the device through a ring of pinned "
             "pieces, which takes a core's time (ulimit -l, or less --expert-memory)");
  }
  ASSIGN_OR_RETURN(weights.tier, DeviceTier::create(*weights.store, options, target.device, target.stream, pinned));
  return loading.warm ? weights.tier->warm(weights.store->first_counters()) : Status();
}

}  // namespace foregate
