#include "tools/bench/shape_weights.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <string>
#include <thread>

#include "kernels/api/check.h"
#include "tools/bench/random_weights.h"

namespace foregate {
namespace {

// As tests/bench/make_shape_gguf.py has them: logits stay finite and routing is uniform unless planted otherwise.
constexpr float kEmbeddingDeviation = 0.5f;
constexpr float kMatrixDeviation = 0.02f;

bool is_router(const WeightItem& item) {
  return item.group == WeightGroup::kRouter && item.matrix != nullptr;
}

bool is_router_bias(const WeightItem& item) {
  return item.group == WeightGroup::kRouter && item.vector != nullptr;
}

}  // namespace

// Biases take no stream: planting them leaves all other weights as they are.
ShapeWeights::ShapeWeights(const ModelConfig& config, const std::vector<WeightItem>& items, const RoutingPlan& routing)
    : config_(&config),
      items_(&items),
      routing_(routing),
      router_rows_(config.router.experts, config.hidden_size, kMatrixDeviation, routing) {
  std::uint64_t next = 0;
  for (const WeightItem& item : items) streams_.push_back(is_router_bias(item) ? next : next++);
}

Result<ShapeWeights> ShapeWeights::create(const ModelConfig& config, const std::vector<WeightItem>& items,
                                          const RoutingPlan& routing) {
  RETURN_IF_ERROR(check_routing(routing));
  if (routing.skew != 0.0 && std::none_of(items.begin(), items.end(), is_router_bias)) {
    return invalid_argument("the shape was opened without biases for its routers", "skew");
  }
  return ShapeWeights(config, items, routing);
}

// Matrices that write to the residual stream are smaller, so that depth does not make it grow.
float ShapeWeights::deviation(const WeightItem& item) const {
  if (item.group == WeightGroup::kEmbedding) return kEmbeddingDeviation;
  const bool writes = item.rows == config_->hidden_size && (item.name.find("attn_output") != std::string::npos ||
                                                            item.name.find("ffn_down") != std::string::npos);
  return writes ? kMatrixDeviation / std::sqrt(2.0f * static_cast<float>(config_->layers.size())) : kMatrixDeviation;
}

void ShapeWeights::fill_router(const WeightPlace& place) {
  const WeightItem& item = (*items_)[place.item];
  CHECK(item.layer >= rows_layer_);
  for (; rows_layer_ < item.layer; ++rows_layer_) rows_ = router_rows_.next();
  pack_f32(rows_, item.rows, item.cols, place.packed);
}

// The input of a router is normalized: its logits have the deviation of a router row's length.
void ShapeWeights::fill_vector(const WeightItem& item, float* values) const {
  std::fill_n(values, item.rows, item.group == WeightGroup::kNorm ? 1.0f : 0.0f);
  if (!is_router_bias(item)) return;
  const auto experts = static_cast<std::int32_t>(item.rows);
  const double sigma = kMatrixDeviation * std::sqrt(static_cast<double>(config_->hidden_size));
  const std::vector<float> by_rank = planted_biases(experts, config_->router.top_k, routing_.skew, sigma);
  const std::vector<std::int32_t> order = expert_of_rank(experts, item.layer, routing_.seed);
  for (std::size_t r = 0; r < order.size(); ++r) values[order[r]] = by_rank[r];
}

void ShapeWeights::fill_plain(const WeightPlace& place) const {
  const WeightItem& item = (*items_)[place.item];
  if (item.vector != nullptr) {
    fill_vector(item, reinterpret_cast<float*>(place.packed));
  } else {
    const std::uint64_t seed = stream_seed(routing_.seed, streams_[place.item]);
    fill_random(item.format, item.rows, item.cols, deviation(item), seed, place.packed);
  }
}

void ShapeWeights::fill(std::span<const WeightPlace> places, int threads) {
  std::vector<WeightPlace> plain;
  for (const WeightPlace& place : places) {
    if (is_router((*items_)[place.item])) {
      fill_router(place);
    } else {
      plain.push_back(place);
    }
  }
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < plain.size(); i = next++) fill_plain(plain[i]);
  };
  std::vector<std::jthread> helpers;
  for (std::size_t t = 1; t < std::min<std::size_t>(threads, plain.size()); ++t) helpers.emplace_back(work);
  work();
}

}  // namespace foregate
