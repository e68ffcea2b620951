// What the KV cache is made of, for log and metrics. Called once, by the booting thread.
#pragma once

#include "engine/runtime/boot.h"
#include "engine/runtime/kv_blocks.h"

namespace foregate {

// Puts the numbers of blocks into the report.
void report_cache(const BootOptions& options, const KvLayout& layout, const KvBlocks& blocks, BootReport& report);

}  // namespace foregate
