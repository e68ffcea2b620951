#include "engine/runtime/device_report.h"

#include <algorithm>
#include <string>

#include "engine/base/log.h"

namespace foregate {

void report_device(const BootOptions& options, const Device& device, const BootReport& report) {
  log_info("device: " + report.device + " (" + report.device_reason + ")");
  const std::string missing = device.library_missing();
  if (!missing.empty()) log_warn("dense products of many rows are slower than they could be: " + missing);
  if (options.metrics == nullptr) return;
  const std::string kind = device.host_visible() ? "cpu" : "cuda";
  options.metrics
      ->gauge("foregate_device_info", "1: what the model is computed on, and why that was chosen",
              {{"model_name", report.model_name},
               {"device", kind},
               {"asked", options.device},
               {"described", report.device},
               {"reason", report.device_reason}})
      .set(1.0);
  options.metrics
      ->gauge("foregate_library_missing", "1: dense products should be done by cuBLASLt, which is not there",
              {{"model_name", report.model_name}})
      .set(missing.empty() ? 0.0 : 1.0);
}

Status plan_products(const BootOptions& options, const ModelConfig& config, Stream& stream) {
  const std::int32_t cols =
      std::max({config.hidden_size, config.q_width(), config.widest_ffn(), config.shared_intermediate});
  const std::int32_t outputs = std::max(cols, config.vocab_size);
  if (stream.plan_products(options.max_num_batched_tokens, cols, outputs)) return {};
  return resource_exhausted("no device memory for products of " + std::to_string(options.max_num_batched_tokens) +
                            " rows of " + std::to_string(cols) + " columns; --cublaslt-rows 0 does without");
}

}  // namespace foregate
