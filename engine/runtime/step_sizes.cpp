#include "engine/runtime/step_sizes.h"

#include <algorithm>
#include <string>

#include "engine/base/log.h"
#include "engine/kv/block_pool.h"
#include "engine/model/step_scratch.h"

namespace foregate {
namespace {

constexpr std::int64_t kScratchShare = 16;
constexpr std::int32_t kRoom = 128;      // positions of a sequence, without which it would push others out
constexpr std::int32_t kMoreRoom = 512;  // that there should be

}  // namespace

BootOptions with_step_sizes(BootOptions options, const ModelConfig& config, std::int64_t available) {
  if (options.max_num_seqs == 0) {
    const std::int32_t rows = options.max_num_batched_tokens;
    options.max_num_seqs = rows > 0 ? std::min(rows, kMostOpenSequences) : kMostOpenSequences;
  }
  if (options.max_num_batched_tokens > 0) return options;
  const std::int64_t row = std::max<std::int64_t>(1, StepScratch::bytes_for(config, kLeastOpenRows) / kLeastOpenRows);
  const std::int64_t rows = available > 0 ? available / kScratchShare / row : kLeastOpenRows;
  options.max_num_batched_tokens = std::max(
      options.max_num_seqs, static_cast<std::int32_t>(std::clamp<std::int64_t>(rows, kLeastOpenRows, kMostOpenRows)));
  return options;
}

std::int32_t full_length_sequences(std::int32_t most, std::int32_t max_model_len) {
  const std::int64_t positions = std::int64_t{most} * std::min(kMoreRoom, max_model_len);
  return static_cast<std::int32_t>((positions + max_model_len - 1) / max_model_len);
}

std::int32_t sequences_within(std::int32_t most, std::int64_t blocks, std::int32_t block_size,
                              std::int32_t max_model_len) {
  const std::int64_t each = blocks_for(std::min(kRoom, max_model_len), block_size);
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(blocks / std::max<std::int64_t>(each, 1), 1, most));
}

void report_step_sizes(const BootOptions& options, std::int32_t max_model_len, bool fit, BootReport& report) {
  report.max_num_batched_tokens = options.max_num_batched_tokens;
  report.max_num_seqs = options.max_num_seqs;
  if (!fit) return;
  report.max_num_seqs = sequences_within(options.max_num_seqs, report.num_blocks, options.block_size, max_model_len);
  log_info("batch: " + std::to_string(report.max_num_seqs) + " sequences and " +
           std::to_string(report.max_num_batched_tokens) + " tokens in one step");
}

void take_memory(KvCache& cache, bool all) {
  for (const KvGroup group : {KvGroup::kMain, KvGroup::kWindow}) {
    const std::int64_t blocks = cache.num_blocks(group);
    for (std::int64_t i = 0; i < (all ? blocks : std::min<std::int64_t>(blocks, 1)); ++i) {
      cache.zero_block(BlockId{static_cast<std::int32_t>(i)}, group);
    }
  }
}

}  // namespace foregate
