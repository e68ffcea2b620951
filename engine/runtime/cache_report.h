// What the KV cache is made of, for log and metrics. Called once, by the booting thread.
#pragma once

#include "engine/runtime/boot.h"

namespace foregate {

void report_cache(const BootOptions& options, const BootReport& report);

}  // namespace foregate
