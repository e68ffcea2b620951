// How many KV blocks a server takes when nobody says: enough for max_num_seqs sequences of full
// length, within a share of the memory this process may still use. Pure but for available_memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace foregate {

// Bytes of "MemAvailable:" in the text of /proc/meminfo.
std::optional<std::int64_t> parse_mem_available(std::string_view meminfo);
// Of that and what the control groups leave (memory_cgroup.h) the least; 0 when neither can be read.
std::int64_t available_memory();

struct KvBudget {
  std::int64_t num_blocks = 0;       // > 0: as asked
  std::int64_t kv_cache_bytes = 0;   // > 0: as asked
  std::int64_t available_bytes = 0;  // 0: not known
  double share = 0.5;                // that the cache may take; the rest is for the page cache, scratch and front end
  std::int64_t kept_bytes = 0;       // of them: kept free for the cache by who shared out the memory
  std::int64_t block_bytes = 0;
  std::int32_t block_size = 0;
  std::int32_t max_num_seqs = 0;
  std::int32_t max_model_len = 0;
};

// The bytes that the cache may take where no number of blocks is asked for, and what they are called; 0: not known.
struct KvLimit {
  std::int64_t bytes = 0;
  std::string what;
};
KvLimit kv_limit(const KvBudget& budget);

// Blocks to allocate. kResourceExhausted, with the numbers, when that is more than the memory available
// or, unless the number was given outright, not even enough for one sequence of max_model_len.
Result<std::int64_t> choose_num_blocks(const KvBudget& budget);

}  // namespace foregate
