// How the memory of a GPU is shared out before a model is loaded, and what stays with the host: experts, KV cache. From
// the options and a summary; nothing is taken here.
#pragma once

#include <cstdint>

#include "engine/base/status.h"
#include "engine/experts/device_tier.h"
#include "engine/model/summary.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/elastic_boot.h"

namespace foregate {

struct DeviceMemory {
  std::int64_t free_bytes = 0;
  std::int64_t total_bytes = 0;
};

// What of it may still be taken: --gpu-memory-utilization of all, without what others have.
std::int64_t usable_bytes(const DeviceMemory& memory, double utilization);

struct DevicePlan {
  bool tiers = false;               // some experts are not on the GPU; else all are, and the host keeps none
  DeviceTierOptions tier = {};      // with tiers
  std::uint64_t host_bytes = 0;     // of slots in host memory, with tiers; the other experts stay on disk
  std::int64_t kept_for_cache = 0;  // bytes of the GPU that --expert-device-memory auto left for the KV cache
};

// `host_available`: bytes of host memory that may still be taken, 0: not known. kInvalidArgument (fields
// expert_device_memory, expert_memory, expert_miss) for words and budgets that cannot be, kResourceExhausted with the
// numbers when something does not fit. Says in the log how memory is shared where experts do not all fit. `elastic`:
// the slots on the GPU begin as it says and share its budget with the KV cache; null: there is none.
Result<DevicePlan> plan_device_memory(const BootOptions& options, const ModelSummary& summary,
                                      const DeviceMemory& memory, std::int64_t host_available,
                                      const ElasticSplit* elastic = nullptr);

}  // namespace foregate
