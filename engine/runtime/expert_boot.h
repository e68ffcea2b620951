// From the options of a start to how experts are loaded. Booting thread.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"
#include "engine/model/lookahead.h"
#include "engine/model/store_loader.h"
#include "engine/runtime/boot.h"

namespace foregate {

// kInvalidArgument (field lookahead) for another word.
Result<LookaheadOptions> lookahead_options(const BootOptions& options);
// A store of `budget_bytes` of the `available` bytes of host memory; `machine`: whose costs are measured.
ExpertLoading expert_loading(const BootOptions& options, std::uint64_t budget_bytes, std::int64_t available,
                             const std::string& machine);

}  // namespace foregate
