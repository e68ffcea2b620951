// How the budget of --elastic-memory begins: blocks and experts at the start, and the least and most there will be of
// each. From the options and a summary of the model; pure but for making the cache.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/base/status.h"
#include "engine/experts/expert_store.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/summary.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/engine_parts.h"

namespace foregate {

struct ElasticSplit {
  ElasticParts parts;  // of the engine, rules among them
  std::int64_t most_blocks = 0;
  std::uint64_t expert_bytes = 0;  // at the start
  ElasticSlotOptions slots;
};

// kInvalidArgument or kUnimplemented, with the field, for options that do not go with --elastic-memory.
Status check_elastic_options(const BootOptions& options);

// None when the options ask for none. The cache begins with what --num-gpu-blocks-override or --kv-cache-memory-bytes
// say, else with a sequence of full length and room for a step; the experts get the rest. `available`: bytes this
// process may still take, 0: not known. kInvalidArgument (field elastic_memory) with the numbers when the budget holds
// less than one sequence and the least number of experts, kResourceExhausted when it is not there.
Result<std::optional<ElasticSplit>> plan_elastic_split(const BootOptions& options, const ModelSummary& summary,
                                                       PageSource& pages, std::int64_t available);

// The cache of such an engine; says the split in the log.
Result<KvCache> make_elastic_cache(const ElasticSplit& split, Device& device, const KvLayout& layout);

}  // namespace foregate
