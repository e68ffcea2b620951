#include "engine/placement/scale.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/placement/clusters.h"

namespace foregate {
namespace {

// Weights read once, all rows multiplied with them.
double product_seconds(double bytes, double rows, double bytes_per_value, const ScaleRank& rank) {
  const double flops = 2 * rows * bytes / bytes_per_value;
  return std::max(bytes / rank.bytes_per_second, flops / rank.flops_per_second);
}

double dense_seconds(const ScaleModel& model, const ScaleRank& rank, double rows, double context) {
  const auto layers = [&](std::int32_t count, double bytes) {
    return count * (product_seconds(bytes, rows, model.weight_bytes_per_value, rank) + rank.layer_seconds);
  };
  const double keys = rows * context * model.context_bytes / rank.bytes_per_second;
  return layers(model.sparse_layers, model.layer_bytes) + layers(model.dense_layers, model.dense_layer_bytes) +
         product_seconds(model.head_bytes, rows, model.weight_bytes_per_value, rank) + keys;
}

double expert_seconds(const ScaleModel& model, const ScaleRank& rank, std::int32_t ranks, const ScaleStep& step) {
  const double held = static_cast<double>(model.experts) / ranks;
  const double met = experts_met(model.experts, model.top_k, step.rows) / ranks;
  const double bytes = std::min(held, met * step.imbalance) * model.expert_bytes;
  const double rows = static_cast<double>(step.rows) * model.top_k / ranks * step.imbalance;
  const double flops = 2 * rows * model.expert_bytes / model.weight_bytes_per_value;
  return std::max(bytes / rank.bytes_per_second, flops / rank.flops_per_second) + rank.layer_seconds;
}

double exchange_seconds(const ScaleModel& model, const ScaleFabric& fabric, const ScaleStep& step) {
  if (fabric.ranks == 1) return 0.0;
  const double own = static_cast<double>(step.rows) / fabric.ranks * step.imbalance;
  const double distinct = step.distinct > 0 ? step.distinct : ranks_met(model.experts, model.top_k, fabric.ranks);
  const double rows = own * distinct * (1.0 - 1.0 / fabric.ranks);
  const double bytes = rows * static_cast<double>(model.hidden) * model.row_value_bytes;
  const double of_node = std::min(fabric.ranks, fabric.ranks_per_node) - 1.0;
  const double share = of_node / (fabric.ranks - 1.0);
  const double near = share > 0 ? fabric.near.seconds(bytes * share) : 0.0;
  const double far = share < 1 ? fabric.far.seconds(bytes * (1 - share)) : 0.0;
  return 2 * std::max(near, far);
}

}  // namespace

double experts_met(double experts, double top_k, double rows) {
  return experts * (1.0 - std::pow(1.0 - top_k / experts, rows));
}

// A rank of E / R experts has none of a row's with chance C(E - E / R, k) / C(E, k).
double ranks_met(std::int32_t experts, std::int32_t top_k, std::int32_t ranks) {
  const double others = experts - static_cast<double>(experts) / ranks;
  double none = 1.0;
  for (std::int32_t i = 0; i < top_k; ++i) none *= std::max(others - i, 0.0) / (experts - i);
  return ranks * (1.0 - none);
}

StepTimes step_times(const ScaleModel& model, const ScaleRank& rank, const ScaleFabric& fabric, const ScaleStep& step) {
  const double own = std::ceil(static_cast<double>(step.rows) / fabric.ranks);
  StepTimes times;
  times.dense = dense_seconds(model, rank, own, step.context);
  times.experts = model.sparse_layers * expert_seconds(model, rank, fabric.ranks, step);
  times.exchange = model.sparse_layers * exchange_seconds(model, fabric, step);
  return times;
}

StepTimes star_times(const StarRanks& star, std::int32_t rows) {
  constexpr int kDraws = 2000;
  const auto experts = static_cast<std::size_t>(star.experts);
  const auto ranks = static_cast<std::size_t>(star.ranks);
  Draws draws(1, 1);
  std::vector<std::int32_t> met(experts), chosen;
  std::vector<double> load(ranks);
  StepTimes layer;
  for (int draw = 0; draw < kDraws; ++draw) {
    std::fill(met.begin(), met.end(), 0);
    for (std::int32_t row = 0; row < rows; ++row) {
      chosen.clear();
      while (chosen.size() < static_cast<std::size_t>(star.top_k)) {
        const auto expert = static_cast<std::int32_t>(draws.below(experts));
        if (std::find(chosen.begin(), chosen.end(), expert) != chosen.end()) continue;
        chosen.push_back(expert);
        ++met[static_cast<std::size_t>(expert)];
      }
    }
    std::fill(load.begin(), load.end(), 0.0);
    double all = 0.0, bytes = 0.0;
    for (std::size_t e = 0; e < experts; ++e) {
      if (met[e] == 0) continue;
      const double seconds = star.expert_seconds + star.expert_row_seconds * (met[e] - 1);
      const std::size_t rank = e * ranks / experts;
      load[rank] += seconds;
      all += seconds;
      bytes += rank > 0 ? star.row_bytes * met[e] : 0.0;
    }
    const auto asked = static_cast<double>(std::count_if(load.begin() + 1, load.end(), [](double s) { return s > 0; }));
    layer.experts += std::max(*std::max_element(load.begin(), load.end()), all / star.cores) / kDraws;
    layer.exchange += 2 * (asked * star.link.alpha + bytes / star.link.bytes_per_second) / kDraws;
  }
  return {star.dense_seconds, star.layers * layer.experts, star.layers * layer.exchange};
}

}  // namespace foregate
