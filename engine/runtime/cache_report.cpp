#include "engine/runtime/cache_report.h"

#include <string>

#include "engine/base/log.h"
#include "engine/base/metrics.h"

namespace foregate {

void report_cache(const BootOptions& options, const BootReport& report) {
  const std::string type = dtype_name(report.kv_type);
  log_info("KV cache: " + std::to_string(report.num_blocks) + " blocks of " + std::to_string(options.block_size) +
           " tokens, " + std::to_string(report.num_blocks * report.block_bytes) + " bytes, in " + type);
  if (report.kv_type == DType::kI8) {
    log_warn("--kv-cache-dtype int8: keys and values are rounded to 8 bits, so tokens may differ from those of f16");
  }
  if (options.metrics == nullptr) return;
  options.metrics
      ->gauge("vllm:cache_config_info", "How keys and values are kept; always 1.",
              {{"model_name", report.model_name},
               {"engine", "0"},
               {"cache_dtype", type},
               {"block_size", std::to_string(options.block_size)},
               {"num_gpu_blocks", std::to_string(report.num_blocks)},
               {"enable_prefix_caching", options.prefix_caching ? "true" : "false"}})
      .set(1);
}

}  // namespace foregate
