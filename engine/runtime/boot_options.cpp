#include "engine/runtime/boot_options.h"

#include "engine/runtime/elastic_boot.h"
#include "engine/runtime/rank_boot.h"
#include "engine/spec/spec_config.h"

namespace foregate {
namespace {

Status set_scheduling(const BootOptions& options, EngineOptions& out) {
  const auto policy = policy_named(options.scheduling_policy);
  if (!policy) return invalid_argument("there is no policy " + options.scheduling_policy, "scheduling_policy");
  out.policy.kind = *policy;
  out.policy.mlfq.quantum = options.mlfq_quantum;
  out.policy.mlfq.promote_after = options.mlfq_promote_after;
  out.policy.dlpm.quantum = options.dlpm_quantum;
  out.policy.dlpm.look_ahead = options.max_num_seqs;
  out.target_itl_seconds = options.target_itl_seconds;
  out.swap_space_bytes = options.swap_space_bytes;
  if (options.preemption_mode == "swap") {
    out.preemption = PreemptionMode::kSwap;
  } else if (options.preemption_mode == "auto") {
    out.preemption = PreemptionMode::kAuto;
  } else if (options.preemption_mode != "recompute") {
    return invalid_argument("preemption_mode is recompute, swap or auto", "preemption_mode");
  }
  return {};
}

}  // namespace

Status check_boot_options(const BootOptions& o) {
  if (o.model.empty()) return invalid_argument("no model is given", "model");
  if (o.max_model_len < 0) return invalid_argument("max_model_len must not be negative", "max_model_len");
  if (o.max_num_seqs < 0) return invalid_argument("max_num_seqs must not be negative", "max_num_seqs");
  if (o.max_num_batched_tokens < 0) {
    return invalid_argument("max_num_batched_tokens must not be negative", "max_num_batched_tokens");
  }
  if (o.block_size < 1 || o.block_size > 1024) {
    return invalid_argument("block_size must be between 1 and 1024", "block_size");
  }
  if (o.num_blocks < 0) return invalid_argument("num_blocks must not be negative", "num_blocks");
  if (o.kv_cache_bytes < 0) return invalid_argument("kv_cache_bytes must not be negative", "kv_cache_bytes");
  const DType kv = o.kv_type.value_or(DType::kF32);
  if (kv != DType::kF32 && kv != DType::kF16 && kv != DType::kBF16 && kv != DType::kI8) {
    return invalid_argument("the KV cache is f32, f16, bf16 or int8", "kv_cache_dtype");
  }
  if (o.device != "auto" && o.device != "cpu" && o.device != "cuda") {
    return invalid_argument("must be auto, cpu or cuda, not " + o.device, "device");
  }
  if (o.cublaslt_rows < 0) return invalid_argument("cublaslt_rows must not be negative", "cublaslt_rows");
  RETURN_IF_ERROR(check_rank_options(o));
  RETURN_IF_ERROR(check_elastic_options(o));
  return parse_spec_config(o.speculative_config).status();
}

Result<EngineOptions> engine_options(const BootOptions& options, const BootReport& report) {
  EngineOptions out;
  RETURN_IF_ERROR(set_scheduling(options, out));
  out.model_name = report.model_name;
  out.max_num_seqs = report.max_num_seqs;
  out.max_num_batched_tokens = options.max_num_batched_tokens;
  out.max_num_queued_reqs = options.max_num_queued_reqs;
  out.max_num_queued_tokens = options.max_num_queued_tokens;
  out.max_client_share = options.max_client_share;
  out.prefix_caching = options.prefix_caching;
  out.expert_batch_delay = options.expert_batch_delay;
  out.free_window_blocks = options.free_window_blocks;
  out.device_sampling = options.device_sampling;
  out.step_limit_seconds = options.step_limit_seconds;
  out.seed = options.seed;
  return out;
}

}  // namespace foregate
