#include "engine/runtime/memory_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "engine/kv/block_pool.h"
#include "engine/runtime/memory_cgroup.h"
#include "engine/runtime/proc_text.h"

namespace foregate {
namespace {

// Files of /proc and /sys say that they are empty, so they are read to their end here.
std::string read_small(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

std::optional<std::int64_t> parse_mem_available(std::string_view meminfo) {
  const auto kilobytes = number_of_line(meminfo, "MemAvailable:");
  if (!kilobytes || *kilobytes > std::numeric_limits<std::int64_t>::max() / 1024) return std::nullopt;
  return *kilobytes * 1024;
}

std::int64_t available_memory() {
  std::optional<std::int64_t> available = parse_mem_available(read_small("/proc/meminfo"));
  for (const MemoryCgroup& group :
       find_memory_cgroups(read_small("/proc/self/cgroup"), read_small("/proc/self/mountinfo"))) {
    const auto left = cgroup_available(group, read_small);
    if (left && (!available || *left < *available)) available = left;
  }
  return available.value_or(0);
}

KvLimit kv_limit(const KvBudget& budget) {
  if (budget.kv_cache_bytes > 0) return {budget.kv_cache_bytes, "kv_cache_bytes"};
  if (budget.available_bytes <= 0) return {};
  KvLimit limit;
  limit.bytes = static_cast<std::int64_t>(static_cast<double>(budget.available_bytes) * budget.share);
  limit.what = budget.share < 1 ? "half of the available memory" : "what is left of the GPU's memory";
  const std::int64_t kept = std::min(budget.kept_bytes, budget.available_bytes);
  return kept > limit.bytes ? KvLimit{kept, "the memory kept for it"} : limit;
}

Result<std::int64_t> choose_num_blocks(const KvBudget& budget) {
  const std::int64_t one = blocks_for(budget.max_model_len, budget.block_size);
  const KvLimit limit = kv_limit(budget);
  std::int64_t blocks = one * budget.max_num_seqs;
  if (budget.num_blocks > 0) {
    blocks = budget.num_blocks;
  } else if (budget.kv_cache_bytes > 0) {
    blocks = limit.bytes / budget.block_bytes;
  } else if (limit.bytes > 0) {
    blocks = std::min(blocks, limit.bytes / budget.block_bytes);
  }
  blocks = std::min<std::int64_t>(blocks, std::numeric_limits<std::int32_t>::max());
  if (budget.num_blocks == 0 && blocks < one) {
    return resource_exhausted("one sequence of " + std::to_string(budget.max_model_len) + " tokens needs " +
                              std::to_string(one * budget.block_bytes) + " bytes of KV cache, " + limit.what + " is " +
                              std::to_string(limit.bytes) + "; lower max_model_len or give more");
  }
  if (budget.available_bytes > 0 && blocks > budget.available_bytes / budget.block_bytes) {
    return resource_exhausted("a KV cache of " + std::to_string(blocks) + " blocks needs " +
                              std::to_string(blocks * budget.block_bytes) + " bytes, " +
                              std::to_string(budget.available_bytes) + " are available");
  }
  return blocks;
}

}  // namespace foregate
