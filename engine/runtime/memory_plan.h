// How the memory of the machine is shared out before a model is loaded: experts, dense weights, KV cache. From the
// options and a summary; nothing is taken here.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/base/status.h"
#include "engine/model/summary.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/expert_memory.h"

namespace foregate {

struct MemoryPlan {
  std::optional<std::uint64_t> expert_bytes;  // for slots of experts; none: all are loaded
  std::optional<std::uint64_t> dense_bytes;   // for the dense weights of layers; none: all are loaded
  std::int64_t kept_for_cache = 0;            // bytes that --expert-memory auto left for the KV cache
};

// What experts and KV cache share: `available` bytes of the memory that holds the other weights, of which dense_saved
// bytes are not in it at a time.
ExpertMemoryFacts memory_facts(const BootOptions& options, const ModelSummary& summary, std::uint64_t dense_saved,
                               std::int64_t available);

// `available`: bytes this process may still take, 0: not known. kInvalidArgument (field expert_memory or dense_memory)
// for words and budgets that cannot be, kResourceExhausted with the numbers when the weights do not fit. Says in the
// log how auto shared.
Result<MemoryPlan> plan_memory(const BootOptions& options, const ModelSummary& summary, std::int64_t available);

}  // namespace foregate
