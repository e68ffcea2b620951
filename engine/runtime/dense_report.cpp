#include "engine/runtime/dense_report.h"

namespace foregate {

DenseReport::DenseReport(Metrics* registry, const std::string& model_name)
    : registry_(registry), model_name_(model_name) {}

void DenseReport::make_series() {
  Metrics& m = *registry_;
  const Labels labels = {{"model_name", model_name_}};
  ready_.counter = &m.counter("dense_window_ready", "Streamed layers that were in memory when a step came.", labels);
  late_.counter = &m.counter("dense_window_late", "Streamed layers that a step waited for.", labels);
  loads_.counter = &m.counter("dense_window_loads", "Layers whose dense weights were read from disk.", labels);
  bytes_.counter = &m.counter("dense_window_read_bytes", "Bytes of dense weights read while serving.", labels);
  retries_.counter = &m.counter("dense_window_read_retries", "Reads of layers begun again after a fault.", labels);
  failures_.counter = &m.counter("dense_window_read_failures", "Reads of layers that failed twice.", labels);
  stall_.counter = &m.counter("dense_window_stall_seconds", "Time steps waited for dense weights.", labels);
  streamed_ = &m.gauge("dense_window_layers", "Layers whose dense weights are not kept in memory.", labels);
  made_ = true;
}

void DenseReport::figures(const DenseFigures& now) {
  if (registry_ == nullptr) return;
  if (!made_) make_series();
  ready_.follow(static_cast<double>(now.ready));
  late_.follow(static_cast<double>(now.late));
  loads_.follow(static_cast<double>(now.loads));
  bytes_.follow(static_cast<double>(now.loaded_bytes));
  retries_.follow(static_cast<double>(now.load_retries));
  failures_.follow(static_cast<double>(now.load_failures));
  stall_.follow(now.stall_seconds);
  streamed_->set(static_cast<double>(now.layers_streamed));
}

}  // namespace foregate
