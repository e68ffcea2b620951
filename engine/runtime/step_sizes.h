// How many sequences and rows a step takes where the options leave it open (0): for work that nobody waits for, as much
// as memory allows. The more rows share a step, the fewer bytes of weights are read for each. Pure functions; memory is
// that of the host.
#pragma once

#include <cstdint>

#include "engine/kv/kv_cache.h"
#include "engine/model/model_config.h"
#include "engine/runtime/boot.h"

namespace foregate {

inline constexpr std::int32_t kMostOpenSequences = 256;
inline constexpr std::int32_t kLeastOpenRows = 512;
inline constexpr std::int32_t kMostOpenRows = 2048;

// The options with both numbers set: sequences to the most there may be, until the KV cache is known
// (sequences_within()), rows so that their scratch takes a sixteenth of the `available` bytes (0: not known), but never
// fewer than a row for each sequence.
BootOptions with_step_sizes(BootOptions options, const ModelConfig& config, std::int64_t available);

// The sequences of full length that the KV cache should hold when there are `most` of any length: room for 512
// positions of each, at least one.
std::int32_t full_length_sequences(std::int32_t most, std::int32_t max_model_len);

// Of at most `most` sequences as many as find room for 128 positions each, or for their whole length where that is
// less, in a cache of so many blocks; at least one. More would push each other out as they grow.
std::int32_t sequences_within(std::int32_t most, std::int64_t blocks, std::int32_t block_size,
                              std::int32_t max_model_len);

// Puts both numbers into the report: the options', or with `fit` the sequences that report.num_blocks hold, which the
// log then says.
void report_step_sizes(const BootOptions& options, std::int32_t max_model_len, bool fit, BootReport& report);

// Writes to a cache that the host sees, so that its memory is taken at once. `all`: a run of hours should not find out
// in its middle that it is not there. Otherwise to the first block: with huge pages that is the memory of the first
// requests, which then do not wait for the kernel to clear it.
void take_memory(KvCache& cache, bool all);

}  // namespace foregate
