#include "engine/placement/scale.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
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

namespace {

// What one layer asks of each rank.
struct StarLayer {
  std::vector<double> work;     // seconds of its experts
  std::vector<double> rows;     // that are sent to it, each once
  std::vector<double> outputs;  // that come back
};

StarLayer divide_layer(const StarRanks& star, std::span<const std::int32_t> ids) {
  const auto ranks = static_cast<std::size_t>(star.ranks);
  StarLayer layer{std::vector<double>(ranks), std::vector<double>(ranks), std::vector<double>(ranks)};
  std::vector<std::int32_t> met(static_cast<std::size_t>(star.experts));
  std::vector<std::size_t> last(ranks, ids.size());  // the row that was sent last
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto expert = static_cast<std::size_t>(ids[i]);
    const std::size_t rank = expert * ranks / met.size();
    const std::size_t row = i / static_cast<std::size_t>(star.top_k);
    layer.work[rank] += met[expert]++ == 0 ? star.expert_seconds : star.expert_row_seconds;
    layer.outputs[rank] += 1;
    if (last[rank] != row) layer.rows[rank] += 1;
    last[rank] = row;
  }
  return layer;
}

// From rank 0's first message to the last answer that it took.
double layer_seconds(const StarRanks& star, const StarLayer& layer) {
  const double wire = std::max(star.link.alpha - star.send_seconds, 0.0);
  const auto copy = [&star](double rows) { return rows * star.row_bytes / star.link.bytes_per_second; };
  std::vector<std::pair<double, std::size_t>> ready;
  double now = 0.0;
  for (std::size_t rank = 1; rank < layer.work.size(); ++rank) {
    if (layer.rows[rank] == 0) continue;
    now += star.ask_seconds + star.send_seconds + copy(layer.rows[rank]);
    ready.emplace_back(now + wire, rank);
  }
  now += layer.work[0];
  std::vector<double> free(static_cast<std::size_t>(star.cores), 0.0);
  free[0] = now;
  std::vector<double> arrival(layer.work.size());
  for (const auto& [at, rank] : ready) {
    double& core = *std::min_element(free.begin(), free.end());
    core = std::max(core, at) + layer.work[rank] + star.send_seconds + copy(layer.outputs[rank]);
    arrival[rank] = core + wire;
  }
  for (const auto& [at, rank] : ready) {
    now = std::max(now, arrival[rank]) + layer.outputs[rank] * star.output_seconds;
  }
  return now;
}

void add_layer(const StarRanks& star, std::span<const std::int32_t> ids, double weight, StepTimes& times) {
  const StarLayer layer = divide_layer(star, ids);
  const double all = std::accumulate(layer.work.begin(), layer.work.end(), 0.0);
  const double most = *std::max_element(layer.work.begin(), layer.work.end());
  const double experts = std::max(most, all / star.cores);
  times.experts += weight * experts;
  times.exchange += weight * std::max(layer_seconds(star, layer) - experts, 0.0);
}

}  // namespace

StepTimes star_times(const StarRanks& star, std::int32_t rows) {
  constexpr int kDraws = 2000;
  Draws draws(1, 1);
  std::vector<std::int32_t> ids;
  StepTimes times{.dense = star.dense_seconds};
  for (int draw = 0; draw < kDraws; ++draw) {
    ids.clear();
    while (ids.size() < static_cast<std::size_t>(rows) * static_cast<std::size_t>(star.top_k)) {
      const auto expert = static_cast<std::int32_t>(draws.below(static_cast<std::size_t>(star.experts)));
      const auto row = ids.end() - static_cast<std::ptrdiff_t>(ids.size() % static_cast<std::size_t>(star.top_k));
      if (std::find(row, ids.end(), expert) == ids.end()) ids.push_back(expert);
    }
    add_layer(star, ids, static_cast<double>(star.layers) / kDraws, times);
  }
  return times;
}

StepTimes star_times(const StarRanks& star, std::span<const StarRoutes> steps) {
  StepTimes times{.dense = star.dense_seconds};
  for (const StarRoutes& step : steps) {
    for (const auto& ids : step) add_layer(star, ids, 1.0 / static_cast<double>(steps.size()), times);
  }
  return times;
}

void fit_exchange(std::span<const StarMissing> missing, StarRanks& star) {
  double aa = 0.0, ao = 0.0, oo = 0.0, as = 0.0, os = 0.0;  // sums of products: asked, outputs, seconds
  for (const StarMissing& one : missing) {
    double asked = 0.0, outputs = 0.0;
    for (const StarRoutes& step : one.steps) {
      for (const auto& ids : step) {
        const StarLayer layer = divide_layer(star, ids);
        for (std::size_t rank = 1; rank < layer.rows.size(); ++rank) {
          asked += (layer.rows[rank] > 0 ? 1.0 : 0.0) / static_cast<double>(one.steps.size());
          outputs += layer.outputs[rank] / static_cast<double>(one.steps.size());
        }
      }
    }
    aa += asked * asked, ao += asked * outputs, oo += outputs * outputs;
    as += asked * one.seconds, os += outputs * one.seconds;
  }
  const double determinant = aa * oo - ao * ao;
  star.ask_seconds = determinant > 0 ? (as * oo - os * ao) / determinant : -1.0;
  star.output_seconds = determinant > 0 ? (os * aa - as * ao) / determinant : -1.0;
  if (star.output_seconds < 0.0) {
    star.output_seconds = 0.0;
    star.ask_seconds = aa > 0 ? as / aa : 0.0;
  } else if (star.ask_seconds < 0.0) {
    star.ask_seconds = 0.0;
    star.output_seconds = oo > 0 ? os / oo : 0.0;
  }
  star.ask_seconds = std::max(star.ask_seconds, 0.0);
  star.output_seconds = std::max(star.output_seconds, 0.0);
}

}  // namespace foregate
