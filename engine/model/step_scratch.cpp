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

// Every array with a part for each row, and how long that is.
template <class Each>
void each_array(const ModelConfig& config, StepScratch& s, const Each& each) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t top_k = config.router.top_k;
  each(s.hidden, hidden);
  each(s.delta, hidden);
  each(s.normed, hidden);
  each(s.q, config.q_width());
  each(s.k, config.kv_width());
  each(s.v, config.kv_width());
  each(s.attended, config.q_width());
  each(s.router_logits, config.router.experts);
  for (ExpertRoute* route : {&s.route, &s.next_route}) {
    each(route->weights, top_k);
    each(route->ids, top_k);
  }
  each(s.expert_out, hidden * top_k);
  each(s.ffn_inner, inner_per_row(config));
  each(s.shared_out, config.shared_intermediate > 0 ? hidden : 0);
  each(s.shared_gate, config.shared_intermediate > 0 ? 1 : 0);
  for (std::size_t i = 0; i < config.ropes.size(); ++i) {
    each(s.cos[i], config.ropes[i].rotary_dim / 2);
    each(s.sin[i], config.ropes[i].rotary_dim / 2);
  }
}

void carve(const ModelConfig& config, std::int64_t rows, Carver& carver, StepScratch& s) {
  s.cos.resize(config.ropes.size());
  s.sin.resize(config.ropes.size());
  each_array(config, s, [&](auto*& array, std::int64_t per_row) { carver.take(array, rows * per_row); });
  carver.take(s.distinct_experts, static_cast<std::int64_t>(config.layers.size()));
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
  scratch.make_host_arrays(config, max_rows);
  return scratch;
}

void StepScratch::make_host_arrays(const ModelConfig& config, std::int32_t max_rows) {
  const auto assignments = static_cast<std::size_t>(max_rows) * static_cast<std::size_t>(config.router.top_k);
  identity.resize(static_cast<std::size_t>(max_rows));
  std::iota(identity.begin(), identity.end(), 0);
  x_rows.resize(assignments);
  out_rows.resize(assignments);
  group_ends.resize(static_cast<std::size_t>(config.router.experts));
  groups.reserve(static_cast<std::size_t>(config.router.experts) + 1);
}

void StepScratch::show(const ModelConfig& config, const StepScratch& whole, std::int64_t first_row) {
  hidden = whole.hidden;
  delta = whole.delta;
  normed = whole.normed;
  q = whole.q;
  k = whole.k;
  v = whole.v;
  attended = whole.attended;
  router_logits = whole.router_logits;
  route = whole.route;
  next_route = whole.next_route;
  expert_out = whole.expert_out;
  distinct_experts = whole.distinct_experts;
  ffn_inner = whole.ffn_inner;
  shared_out = whole.shared_out;
  shared_gate = whole.shared_gate;
  cos = whole.cos;
  sin = whole.sin;
  each_array(config, *this, [&](auto*& array, std::int64_t per_row) { array += first_row * per_row; });
  for (ExpertRoute* shown : {&route, &next_route}) {
    shown->host_weights = shown->weights;
    shown->host_ids = shown->ids;
  }
}

}  // namespace foregate
