#include "engine/runtime/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <numeric>
#include <string>

#include "engine/base/log.h"
#include "engine/experts/dense_plan.h"
#include "engine/experts/expert_store.h"
#include "engine/model/step_scratch.h"
#include "engine/runtime/expert_memory.h"
#include "engine/runtime/kv_blocks.h"

namespace foregate {
namespace {

// Of one sequence of full length, or of the blocks that are asked for.
std::int64_t sequence_bytes(const BootOptions& options, const ModelSummary& summary) {
  const std::int64_t positions = options.max_model_len > 0 ? options.max_model_len : summary.config.max_positions;
  const KvLayout layout = cache_layout(summary.config, options, options.kv_type.value_or(summary.kv_type));
  if (options.num_blocks == 0) return sequence_bytes(layout, positions, options.max_num_batched_tokens);
  const std::int64_t block = std::max<std::int64_t>(layout.block_bytes(), 1);
  return std::min(options.num_blocks, std::numeric_limits<std::int64_t>::max() / block) * block;
}

// The experts that one token needs.
std::uint64_t cycle_bytes(const ModelSummary& summary) {
  if (!summary.packed || summary.packed->experts == 0) return 0;
  const auto& layers = summary.config.layers;
  const auto sparse = std::count_if(layers.begin(), layers.end(), [](const LayerConfig& l) { return l.sparse; });
  return summary.packed->expert_bytes / summary.packed->experts *
         static_cast<std::uint64_t>(sparse * summary.config.router.top_k);
}

// What the KV cache should find left: the bytes or blocks asked for, else sequences of full length.
std::uint64_t cache_bytes(const BootOptions& options, const ModelSummary& summary, const ExpertMemoryFacts& facts) {
  if (options.num_blocks == 0 && options.kv_cache_bytes > 0) return static_cast<std::uint64_t>(options.kv_cache_bytes);
  const auto one = static_cast<std::uint64_t>(sequence_bytes(options, summary));
  if (options.num_blocks > 0 || options.expert_memory != "auto") return one;
  const std::int32_t sequences = cache_sequences(
      facts, {.sequence_bytes = one, .max_num_seqs = options.max_num_seqs, .cycle_bytes = cycle_bytes(summary)});
  return one * static_cast<std::uint64_t>(sequences);
}

// Bytes of dense weights that are not in memory at a time.
Result<std::uint64_t> dense_saved(const ModelSummary& summary, const std::optional<std::uint64_t>& budget) {
  if (!budget || !summary.packed) return std::uint64_t{0};
  const std::vector<std::uint64_t>& layers = summary.packed->layer_bytes;
  ASSIGN_OR_RETURN(const DensePlan plan, plan_dense_window(layers, *budget));
  const std::uint64_t all = std::accumulate(layers.begin(), layers.end(), std::uint64_t{0});
  return all - std::min(all, plan.bytes);
}

Status check_memory(const ModelSummary& summary, const MemoryPlan& plan, std::uint64_t dense_saved,
                    std::int64_t available) {
  std::int64_t needed = summary.total.packed_bytes - static_cast<std::int64_t>(dense_saved);
  if (plan.expert_bytes) {
    const std::int64_t all = summary.group(WeightGroup::kExperts).packed_bytes;
    needed += std::min(all, static_cast<std::int64_t>(*plan.expert_bytes)) - all;
  }
  if (available <= 0 || needed <= available) return {};
  return resource_exhausted("the weights need " + std::to_string(needed) + " bytes, " + std::to_string(available) +
                            " are available; of a packed model --expert-memory leaves experts on disk, --dense-memory "
                            "dense weights of layers");
}

void say_shares(const ExpertMemoryFacts& facts, const std::optional<std::uint64_t>& experts, const BootOptions& options,
                std::int64_t sequence) {
  char text[240];
  std::snprintf(text, sizeof text,
                "memory: of %.2f GB available %.2f GB go to experts (%.0f %% of them) and %.2f GB to the KV cache, "
                "%.1f sequences of full length beside each other (max_num_seqs %d)",
                static_cast<double>(facts.available_bytes) * 1e-9,
                static_cast<double>(experts.value_or(facts.expert_bytes)) * 1e-9,
                100.0 * static_cast<double>(experts.value_or(facts.expert_bytes)) /
                    static_cast<double>(std::max<std::uint64_t>(facts.expert_bytes, 1)),
                static_cast<double>(facts.kv_bytes) * 1e-9,
                static_cast<double>(facts.kv_bytes) / static_cast<double>(std::max<std::int64_t>(sequence, 1)),
                options.max_num_seqs);
  log_info(text);
}

}  // namespace

ExpertMemoryFacts memory_facts(const BootOptions& options, const ModelSummary& summary, std::uint64_t dense_saved,
                               std::int64_t available) {
  ExpertMemoryFacts facts;
  const auto tensors = static_cast<std::uint64_t>(summary.group(WeightGroup::kExperts).packed_bytes);
  facts.expert_bytes = summary.packed ? summary.packed->expert_bytes : tensors;
  facts.other_bytes = static_cast<std::uint64_t>(summary.total.packed_bytes) - tensors - dense_saved;
  facts.scratch_bytes =
      static_cast<std::uint64_t>(StepScratch::bytes_for(summary.config, options.max_num_batched_tokens));
  facts.available_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(available, 0));
  facts.kv_bytes = cache_bytes(options, summary, facts);
  return facts;
}

Result<MemoryPlan> plan_memory(const BootOptions& options, const ModelSummary& summary, std::int64_t available) {
  MemoryPlan plan;
  const std::uint64_t layers = summary.packed ? std::accumulate(summary.packed->layer_bytes.begin(),
                                                                summary.packed->layer_bytes.end(), std::uint64_t{0})
                                              : 0;
  ASSIGN_OR_RETURN(plan.dense_bytes, choose_dense_memory(options.dense_memory, layers));
  ASSIGN_OR_RETURN(const std::uint64_t saved, dense_saved(summary, plan.dense_bytes));
  const ExpertMemoryFacts facts = memory_facts(options, summary, saved, available);
  ASSIGN_OR_RETURN(plan.expert_bytes, choose_expert_memory(options.expert_memory, facts));
  if (kEvictAtRelease && facts.expert_bytes > 0 && !plan.expert_bytes) plan.expert_bytes = facts.expert_bytes;
  if (options.expert_memory == "auto") {
    plan.kept_for_cache = static_cast<std::int64_t>(facts.kv_bytes);
    if (facts.expert_bytes > 0) say_shares(facts, plan.expert_bytes, options, sequence_bytes(options, summary));
  }
  RETURN_IF_ERROR(check_memory(summary, plan, saved, available));
  return plan;
}

}  // namespace foregate
