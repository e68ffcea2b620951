#include "engine/runtime/device_memory.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>

#include "engine/base/log.h"
#include "engine/runtime/memory_plan.h"

namespace foregate {
namespace {

std::int32_t sparse_layers(const ModelConfig& config) {
  const auto sparse = [](const LayerConfig& layer) { return layer.sparse; };
  return static_cast<std::int32_t>(std::count_if(config.layers.begin(), config.layers.end(), sparse));
}

// Bytes for slots on the GPU; none: all experts that may be there fit.
Result<std::optional<std::uint64_t>> device_bytes(const BootOptions& options, const ExpertMemoryFacts& facts) {
  auto chosen = choose_expert_memory(options.expert_device_memory, facts);
  if (chosen.ok() || chosen.status().code() != Code::kInvalidArgument) return chosen;
  return invalid_argument(chosen.status().message(), "expert_device_memory");
}

Result<std::uint64_t> host_bytes(const BootOptions& options, std::uint64_t expert_bytes, std::int64_t available) {
  ExpertMemoryFacts facts;
  facts.expert_bytes = expert_bytes;
  facts.available_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(available, 0));
  ASSIGN_OR_RETURN(const auto chosen, choose_expert_memory(options.expert_memory, facts));
  if (chosen) return *chosen;
  if (available > 0 && expert_bytes > facts.available_bytes) {
    return resource_exhausted("the experts need " + std::to_string(expert_bytes) +
                              " bytes of host memory beside the GPU, " + std::to_string(available) +
                              " are available; --expert-memory auto leaves the others on disk");
  }
  return expert_bytes;
}

// All experts that the device has not are in host memory, or where --expert-memory says.
Result<DevicePlan> plan_elastic_device(const BootOptions& options, const ModelSummary& summary,
                                       const ElasticSplit& elastic, std::int64_t available, DevicePlan plan) {
  if (plan.tier.host_layers > 0) {
    return unimplemented("--elastic-memory shares a GPU's memory with all experts; leave --cpu-moe and --n-cpu-moe out",
                         "elastic_memory");
  }
  if (options.expert_device_memory != "auto") {
    return invalid_argument("what the experts get is decided by --elastic-memory; leave --expert-device-memory out",
                            "expert_device_memory");
  }
  plan.tiers = true;
  plan.tier.budget_bytes = elastic.expert_bytes;
  plan.tier.elastic = elastic.slots;
  ASSIGN_OR_RETURN(plan.host_bytes, host_bytes(options, memory_facts(options, summary, 0, 0).expert_bytes, available));
  return plan;
}

void say_shares(const ExpertMemoryFacts& facts, const DevicePlan& plan) {
  char text[240];
  std::snprintf(text, sizeof text,
                "GPU memory: of %.2f GB usable at most %.2f GB go to experts (%.2f GB in all), %.2f GB are for the KV "
                "cache, %.2f GB for other weights",
                static_cast<double>(facts.available_bytes) * 1e-9,
                static_cast<double>(std::min(plan.tier.budget_bytes, facts.expert_bytes)) * 1e-9,
                static_cast<double>(facts.expert_bytes) * 1e-9, static_cast<double>(facts.kv_bytes) * 1e-9,
                static_cast<double>(facts.other_bytes) * 1e-9);
  log_info(text);
}

}  // namespace

std::int64_t usable_bytes(const DeviceMemory& memory, double utilization) {
  if (memory.free_bytes <= 0) return 0;
  const auto share = static_cast<std::int64_t>(utilization * static_cast<double>(memory.total_bytes));
  return std::max<std::int64_t>(memory.free_bytes - (memory.total_bytes - share), 1);
}

Result<DevicePlan> plan_device_memory(const BootOptions& options, const ModelSummary& summary,
                                      const DeviceMemory& memory, std::int64_t host_available,
                                      const ElasticSplit* elastic) {
  DevicePlan plan;
  const auto rule = miss_rule_named(options.expert_miss);
  if (!rule) return invalid_argument("must be fetch, cpu or auto, not " + options.expert_miss, "expert_miss");
  const std::int32_t layers = sparse_layers(summary.config);
  if (layers == 0 || options.expert_parallel_size > 1) return plan;  // of ranks each has its experts on its GPU
  plan.tier.misses = *rule;
  plan.tier.policy = options.expert_policy;
  plan.tier.host_layers = options.cpu_moe ? layers : std::min(options.n_cpu_moe, layers);
  if (elastic != nullptr) return plan_elastic_device(options, summary, *elastic, host_available, plan);
  BootOptions there = options;
  there.expert_memory = options.expert_device_memory;
  ExpertMemoryFacts facts = memory_facts(there, summary, 0, usable_bytes(memory, options.gpu_memory_utilization));
  const std::uint64_t all = facts.expert_bytes;
  const auto moving = static_cast<std::uint64_t>(layers - plan.tier.host_layers);
  facts.expert_bytes = all / static_cast<std::uint64_t>(layers) * moving;
  ASSIGN_OR_RETURN(const auto chosen, device_bytes(options, facts));
  if (options.expert_device_memory == "auto") plan.kept_for_cache = static_cast<std::int64_t>(facts.kv_bytes);
  plan.tier.budget_bytes = chosen.value_or(all);
  const bool on_disk = options.expert_memory != "all" && options.expert_memory != "auto";
  plan.tiers = on_disk || plan.tier.host_layers > 0 || (chosen && *chosen < facts.expert_bytes);
  if (!plan.tiers) return plan;
  ASSIGN_OR_RETURN(plan.host_bytes, host_bytes(options, all, host_available));
  say_shares(facts, plan);
  return plan;
}

}  // namespace foregate
