// Options of boot: what is refused of them, and what the engine gets of them. Pure.
#pragma once

#include "engine/base/status.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/engine_parts.h"

namespace foregate {

// kInvalidArgument or kUnimplemented with the field.
Status check_boot_options(const BootOptions& options);

// `report`: with the numbers that were settled. kInvalidArgument, with the field, for words that are none.
Result<EngineOptions> engine_options(const BootOptions& options, const BootReport& report);

}  // namespace foregate
