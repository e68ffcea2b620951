// How much memory the experts of a model get: from the word of --expert-memory and what the machine has. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "engine/base/status.h"

namespace foregate {

struct ExpertMemoryFacts {
  std::uint64_t expert_bytes = 0;     // of all experts
  std::uint64_t other_bytes = 0;      // of all other weights
  std::uint64_t kv_bytes = 0;         // that the KV cache should find left
  std::uint64_t scratch_bytes = 0;    // working memory of a step
  std::uint64_t available_bytes = 0;  // memory this process may still take; 0: not known
};

// What the KV cache asks of memory that experts would take too.
struct CacheFacts {
  std::uint64_t sequence_bytes = 0;  // of one sequence of full length
  std::int32_t max_num_seqs = 1;
  std::uint64_t cycle_bytes = 0;  // of the experts that one token needs
};

// Under "auto": how many sequences of full length the KV cache should hold, 1 to max_num_seqs. All where all experts
// fit beside them. Else as many as a quarter of what experts and cache share holds, and of those no more than leave one
// and a half token cycles of experts: below that a cache of experts finds next to nothing.
std::int32_t cache_sequences(const ExpertMemoryFacts& facts, const CacheFacts& cache);

// What stays free beside weights, experts, KV cache and scratch under "auto": the program and its buffers.
inline constexpr std::uint64_t kExpertMemoryReserve = std::uint64_t{192} << 20;

// Bytes for slots of experts, or none: all experts are loaded. `word` is "all", "auto" (all if they fit, else what is
// left beside the other weights, the KV cache, scratch and the reserve), a share of all experts ("40%"), or bytes
// ("4GiB", "512M", "3.5GB"). kInvalidArgument (field expert_memory) for another word, kResourceExhausted with the
// numbers when auto finds no room.
Result<std::optional<std::uint64_t>> choose_expert_memory(std::string_view word, const ExpertMemoryFacts& facts);

// The same for the dense weights of layers, `layer_bytes` in all: "all", a share or bytes. kInvalidArgument (field
// dense_memory) for another word.
Result<std::optional<std::uint64_t>> choose_dense_memory(std::string_view word, std::uint64_t layer_bytes);

}  // namespace foregate
