#include "engine/model/step_scratch.h"

#include <algorithm>
#include <numeric>

namespace foregate {
namespace {

// Hands out 64-byte aligned pieces; without a base it only counts.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}
  template <class T>
  void take(T*& out, std::int64_t count) {
    if (base_ != nullptr) out = reinterpret_cast<T*>(base_ + used_);
    used_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
  }
  std::int64_t used() const { return used_; }

 private:
  std::byte* base_;
  std::int64_t used_ = 0;
};

std::int64_t inner_per_row(const ModelConfig& config) {
  std::int64_t widest = config.shared_intermediate;
  for (const LayerConfig& layer : config.layers) {
    const std::int64_t assignments = layer.sparse ? config.router.top_k : 1;
    widest = std::max(widest, assignments * layer.ffn_intermediate);
  }
  return widest;
}

void carve(const ModelConfig& config, std::int64_t rows, Carver& carver, StepScratch& s) {
  const std::int64_t hidden = rows * config.hidden_size;
  carver.take(s.hidden, hidden);
  carver.take(s.delta, hidden);
  carver.take(s.normed, hidden);
  carver.take(s.q, rows * config.q_width());
  carver.take(s.k, rows * config.kv_width());
  carver.take(s.v, rows * config.kv_width());
  carver.take(s.attended, rows * config.q_width());
  carver.take(s.router_logits, rows * config.router.experts);
  for (ExpertRoute* route : {&s.route, &s.next_route}) {
    carver.take(route->weights, rows * config.router.top_k);
    carver.take(route->ids, rows * config.router.top_k);
  }
  carver.take(s.expert_out, hidden * config.router.top_k);
  carver.take(s.distinct_experts, static_cast<std::int64_t>(config.layers.size()));
  carver.take(s.ffn_inner, rows * inner_per_row(config));
  carver.take(s.shared_out, config.shared_intermediate > 0 ? hidden : 0);
  carver.take(s.shared_gate, config.shared_intermediate > 0 ? rows : 0);
  s.cos.resize(config.ropes.size());
  s.sin.resize(config.ropes.size());
  for (std::size_t i = 0; i < config.ropes.size(); ++i) {
    carver.take(s.cos[i], rows * config.ropes[i].rotary_dim / 2);
    carver.take(s.sin[i], rows * config.ropes[i].rotary_dim / 2);
  }
}

}  // namespace

std::int64_t StepScratch::bytes_for(const ModelConfig& config, std::int32_t max_rows) {
  StepScratch scratch;
  Carver counter(nullptr);
  carve(config, max_rows, counter, scratch);
  return counter.used();
}

void StepScratch::show_routes(const Device& device, std::size_t assignments) {
  ExpertRoute* const routes[] = {&route, &next_route};
  for (int i = 0; i < 2; ++i) {
    routes[i]->host_ids = routes[i]->ids;
    routes[i]->host_weights = routes[i]->weights;
    if (device.host_visible()) continue;
    host_ids[i].resize(assignments);
    host_weights[i].resize(assignments);
    routes[i]->host_ids = host_ids[i].data();
    routes[i]->host_weights = host_weights[i].data();
  }
}

Result<StepScratch> StepScratch::create(const ModelConfig& config, std::int32_t max_rows, Device& device) {
  StepScratch scratch;
  const std::int64_t bytes = bytes_for(config, max_rows);
  scratch.memory = device.allocate(static_cast<std::size_t>(bytes));
  if (!scratch.memory) {
    return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of scratch for " +
                              std::to_string(max_rows) + " tokens per step");
  }
  Carver carver(scratch.memory.data());
  carve(config, max_rows, carver, scratch);
  scratch.show_routes(device, static_cast<std::size_t>(max_rows) * static_cast<std::size_t>(config.router.top_k));
  const auto assignments = static_cast<std::size_t>(max_rows) * static_cast<std::size_t>(config.router.top_k);
  scratch.identity.resize(static_cast<std::size_t>(max_rows));
  std::iota(scratch.identity.begin(), scratch.identity.end(), 0);
  scratch.x_rows.resize(assignments);
  scratch.out_rows.resize(assignments);
  scratch.group_ends.resize(static_cast<std::size_t>(config.router.experts));
  scratch.groups.reserve(static_cast<std::size_t>(config.router.experts) + 1);
  return scratch;
}

}  // namespace foregate
