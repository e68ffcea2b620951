#include "engine/runtime/cache_report.h"

#include <string>

#include "engine/base/log.h"
#include "engine/base/metrics.h"

namespace foregate {

void report_cache(const BootOptions& options, const KvLayout& layout, const KvBlocks& blocks, BootReport& report) {
  const std::string type = dtype_name(report.kv_type);
  const bool all_windowed = layout.block_bytes(KvGroup::kMain) == 0;
  report.num_blocks = all_windowed ? blocks.window : blocks.main;
  report.num_window_blocks = all_windowed ? 0 : blocks.window;
  report.block_bytes = layout.block_bytes(all_windowed ? KvGroup::kWindow : KvGroup::kMain);
  report.cache_bytes = blocks.bytes(layout);
  std::string text =
      "KV cache: " + std::to_string(report.num_blocks) + " blocks of " + std::to_string(options.block_size) + " tokens";
  if (report.num_window_blocks > 0) {
    text += ", and " + std::to_string(report.num_window_blocks) + " for layers with a window of " +
            std::to_string(layout.window(KvGroup::kWindow));
  }
  log_info(text + ", " + std::to_string(report.cache_bytes) + " bytes, in " + type);
  if (layout.has_window() && !layout.grouped && options.free_window_blocks &&
      !options.disable_hybrid_kv_cache_manager) {
    log_info("KV cache: layers with a window share the blocks of the others, beside " +
             std::string(options.elastic_bytes > 0 ? "--elastic-memory" : "--exchange"));
  }
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
               {"num_window_blocks", std::to_string(report.num_window_blocks)},
               {"enable_prefix_caching", options.prefix_caching ? "true" : "false"}})
      .set(1);
}

}  // namespace foregate
