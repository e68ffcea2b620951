#include "engine/runtime/elastic_boot.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>

#include "engine/base/log.h"
#include "engine/kv/block_pool.h"
#include "engine/model/transformer.h"
#include "engine/runtime/memory_plan.h"

namespace foregate {
namespace {

constexpr std::int64_t kIntervalShare = 4;  // of the budget, that changes hands in an interval at most

std::int64_t in_units(std::int64_t blocks, std::int64_t unit) {
  return (blocks + unit - 1) / unit * unit;
}

// Bytes of experts, on average where they differ in size.
struct ExpertBytes {
  std::int64_t all = 0;
  std::int64_t one = 0;
  std::int64_t wave = 0;   // that a layer needs at a time; the store never has less
  std::int64_t least = 0;  // fewer find next to nothing (cache_sequences())
};

ExpertBytes expert_bytes(const ModelSummary& summary, std::uint64_t all) {
  const auto& layers = summary.config.layers;
  const auto sparse =
      std::count_if(layers.begin(), layers.end(), [](const LayerConfig& layer) { return layer.sparse; });
  const std::int64_t experts = sparse * summary.config.router.experts;
  const std::int64_t cycle = sparse * summary.config.router.top_k;
  ExpertBytes bytes;
  bytes.all = static_cast<std::int64_t>(all);
  bytes.one = bytes.all / std::max<std::int64_t>(experts, 1);
  bytes.wave = bytes.one * (summary.config.router.top_k + 1);
  bytes.least = std::max(bytes.wave, bytes.one * (cycle + cycle / 2));
  return bytes;
}

ElasticRules rules_of(const BootOptions& options, std::int64_t unit_bytes, std::int64_t slot_bytes) {
  ElasticRules rules;
  rules.bytes_per_interval = std::max(options.elastic_bytes / kIntervalShare, unit_bytes + 2 * slot_bytes);
  rules.reserve_blocks = blocks_for(options.max_num_batched_tokens, options.block_size) + options.max_num_seqs;
  return rules;
}

}  // namespace

Status check_elastic_options(const BootOptions& o) {
  if (o.elastic_bytes < 0) return invalid_argument("elastic_memory must not be negative", "elastic_memory");
  if (o.elastic_bytes == 0) return {};
  if (o.expert_memory != "all" && o.expert_memory != "auto") {
    return invalid_argument("what the experts get is decided by --elastic-memory; leave --expert-memory out",
                            "expert_memory");
  }
  if (o.expert_parallel_size > 1) {
    return unimplemented("--elastic-memory shares the memory of one process, not of ranks", "elastic_memory");
  }
  if (!o.trace_routes.empty()) {
    return unimplemented("a trace says how many experts memory held, --elastic-memory changes that", "trace_routes");
  }
  return {};
}

Result<std::optional<ElasticSplit>> plan_elastic_split(const BootOptions& options, const ModelSummary& summary,
                                                       PageSource& pages, std::int64_t available) {
  if (options.elastic_bytes == 0) return std::optional<ElasticSplit>();
  const ExpertMemoryFacts facts = memory_facts(options, summary, 0, available);
  if (facts.expert_bytes == 0) return invalid_argument("the model has no experts", "elastic_memory");
  const DType type = options.kv_type.value_or(summary.kv_type);
  const KvLayout layout = kv_layout_of(summary.config, type, options.block_size);
  const std::int64_t block_bytes = layout.block_bytes();
  const std::int64_t unit = KvCache::unit_blocks(layout, pages.page_bytes());
  const std::int64_t budget = options.elastic_bytes;
  const std::int64_t length = options.max_model_len > 0 ? options.max_model_len : summary.config.max_positions;
  const std::int64_t one = blocks_for(length, options.block_size);
  ElasticSplit split;
  const ExpertBytes experts = expert_bytes(summary, facts.expert_bytes);
  split.parts.rules = rules_of(options, unit * block_bytes, experts.one);
  std::int64_t present = options.num_blocks > 0 ? options.num_blocks : options.kv_cache_bytes / block_bytes;
  const std::int64_t least = in_units(options.num_blocks > 0 ? std::min(options.num_blocks, one) : one, unit);
  const std::int64_t wanted = in_units(one * std::max(options.max_num_seqs, 1), unit);
  if (present == 0) present = std::min(wanted, one + split.parts.rules.reserve_blocks);
  present = std::max(in_units(present, unit), least);
  if (const std::int64_t beside = budget - experts.all; beside > present * block_bytes) {  // all experts fit
    present = std::max(present, std::min(wanted, beside / block_bytes / unit * unit));
  }
  if (present > std::numeric_limits<std::int32_t>::max() / 2 || budget / block_bytes < present ||
      budget - present * block_bytes < experts.wave) {
    return invalid_argument("of " + std::to_string(budget) + " bytes " + std::to_string(present) +
                                " KV blocks at the start take " + std::to_string(block_bytes) +
                                " each, and a layer needs experts of " + std::to_string(experts.wave) +
                                " bytes at a time",
                            "elastic_memory");
  }
  const std::int64_t beside = static_cast<std::int64_t>(facts.other_bytes + facts.scratch_bytes);
  if (available > 0 && beside + budget > available) {
    return resource_exhausted("--elastic-memory " + std::to_string(budget) + " and " + std::to_string(beside) +
                              " bytes for dense weights and scratch are more than the " + std::to_string(available) +
                              " available");
  }
  split.expert_bytes = static_cast<std::uint64_t>(std::min(experts.all, budget - present * block_bytes));
  split.slots.pages = &pages;
  split.slots.least_bytes = std::min(split.expert_bytes, static_cast<std::uint64_t>(experts.least));
  split.slots.most_bytes = static_cast<std::uint64_t>(std::min(experts.all, budget - least * block_bytes));
  const std::int64_t for_blocks = budget - static_cast<std::int64_t>(split.slots.least_bytes);
  split.most_blocks = std::max(present, std::min(wanted, for_blocks / block_bytes / unit * unit));
  split.parts.budget_bytes = budget;
  split.parts.block_bytes = block_bytes;
  split.parts.present_blocks = static_cast<std::int32_t>(present);
  split.parts.least_blocks = static_cast<std::int32_t>(std::min(least, present));
  return std::optional(std::move(split));
}

Result<KvCache> make_elastic_cache(const ElasticSplit& split, Device& device, const KvLayout& layout) {
  const ElasticParts& parts = split.parts;
  char text[240];
  std::snprintf(text, sizeof text,
                "elastic memory: of %.3f GB %d KV blocks have %.3f GB now (%d to %lld), experts up to %.3f GB (%.3f to "
                "%.3f GB)",
                static_cast<double>(parts.budget_bytes) * 1e-9, parts.present_blocks,
                static_cast<double>(parts.present_blocks * parts.block_bytes) * 1e-9, parts.least_blocks,
                static_cast<long long>(split.most_blocks), static_cast<double>(split.expert_bytes) * 1e-9,
                static_cast<double>(split.slots.least_bytes) * 1e-9,
                static_cast<double>(split.slots.most_bytes) * 1e-9);
  log_info(text);
  ASSIGN_OR_RETURN(KvCache cache, KvCache::create_elastic(device, *split.slots.pages, layout, split.most_blocks));
  if (!cache.take(BlockId{0}, parts.present_blocks)) {
    return resource_exhausted("no memory for " + std::to_string(parts.present_blocks) + " KV blocks of the budget");
  }
  return cache;
}

}  // namespace foregate
