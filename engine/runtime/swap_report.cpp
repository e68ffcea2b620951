#include "engine/runtime/swap_report.h"

#include "engine/runtime/engine_metrics.h"

namespace foregate {

SwapReport::SwapReport(Metrics* registry, const std::string& model_name) {
  if (registry == nullptr) return;
  const Labels labels = vllm_labels(model_name);
  store_ = way(*registry, labels, "store", "GPU_to_CPU");
  load_ = way(*registry, labels, "load", "CPU_to_GPU");
  no_room_ = &registry->counter("vllm:kv_offload_allocation_failure",
                                "Preempted samples for whose blocks host memory had no room.", labels);
  skipped_ =
      &registry->counter("vllm:kv_offload_stores_skipped",
                         "Preempted samples whose blocks were not copied: computing them again costs less.", labels);
  used_ = &registry->gauge("vllm:kv_offload_cpu_cache_usage_perc",
                           "Share of the host memory for blocks of preempted samples in use, 0 to 1.", labels);
}

SwapReport::Way SwapReport::way(Metrics& metrics, const Labels& labels, const std::string& name, const char* type) {
  Labels typed = labels;
  typed["transfer_type"] = type;
  const std::string of = "vllm:kv_offload_" + name;
  Way way;
  way.bytes = &metrics.counter(of + "_bytes", "Bytes of KV blocks copied this way.", labels);
  way.seconds = &metrics.counter(of + "_time", "Seconds that these copies took.", labels);
  way.size = &metrics.histogram(of + "_size", "Bytes of one such copy.",
                                {1e6, 5e6, 10e6, 20e6, 40e6, 60e6, 80e6, 100e6, 150e6, 200e6}, labels);
  way.total_bytes = &metrics.counter("vllm:kv_offload_total_bytes", "Bytes of KV blocks copied.", typed);
  way.total_seconds = &metrics.counter("vllm:kv_offload_total_time", "Seconds that these copies took.", typed);
  return way;
}

void SwapReport::note(Way& way, std::int64_t bytes, double seconds) {
  if (way.bytes == nullptr) return;
  const auto amount = static_cast<double>(bytes);
  way.bytes->add(amount);
  way.seconds->add(seconds);
  way.size->observe(amount);
  way.total_bytes->add(amount);
  way.total_seconds->add(seconds);
}

void SwapReport::stored(std::int64_t bytes, double seconds) {
  note(store_, bytes, seconds);
}

void SwapReport::loaded(std::int64_t bytes, double seconds) {
  note(load_, bytes, seconds);
}

void SwapReport::no_room() {
  if (no_room_ != nullptr) no_room_->add(1);
}

void SwapReport::skipped() {
  if (skipped_ != nullptr) skipped_->add(1);
}

void SwapReport::used(std::int64_t bytes, std::int64_t space) {
  if (used_ != nullptr) used_->set(space > 0 ? static_cast<double>(bytes) / static_cast<double>(space) : 0.0);
}

}  // namespace foregate
