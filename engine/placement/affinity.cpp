#include "engine/placement/affinity.h"

#include <cmath>

namespace foregate {
namespace {

void count_layer(const RouteRows& rows, std::size_t layer, LayerAffinity& out) {
  const auto experts = static_cast<std::size_t>(rows.experts[layer]);
  out.uses.assign(experts, 0.0f);
  out.together.assign(experts * experts, 0.0f);
  for (std::size_t row = 0; row < rows.rows(); ++row) {
    const float weight = rows.weight(row);
    const auto ids = rows.of(layer, row);
    for (const std::size_t a : ids) {
      out.uses[a] += weight;
      for (const std::size_t b : ids) {
        if (a != b) out.together[a * experts + b] += weight;
      }
    }
  }
}

void count_next(const RouteRows& rows, std::size_t layer, LayerAffinity& out) {
  const auto width = static_cast<std::size_t>(rows.experts[layer + 1]);
  out.next.assign(static_cast<std::size_t>(rows.experts[layer]) * width, 0.0f);
  const float share = 1.0f / static_cast<float>(rows.top_k * rows.top_k);
  for (std::size_t row = 0; row < rows.rows(); ++row) {
    const float weight = rows.weight(row) * share;
    const auto then = rows.of(layer + 1, row);
    for (const std::size_t a : rows.of(layer, row)) {
      for (const std::size_t b : then) out.next[a * width + b] += weight;
    }
  }
}

}  // namespace

void decay(RouteRows& rows, double half_life) {
  rows.weights.clear();
  if (half_life <= 0) return;
  rows.weights.resize(rows.rows());
  for (std::size_t row = 0; row < rows.weights.size(); ++row) {
    rows.weights[row] = static_cast<float>(std::exp2(-static_cast<double>(rows.weights.size() - 1 - row) / half_life));
  }
}

Affinity count_affinity(const RouteRows& rows) {
  Affinity affinity;
  affinity.layers.resize(rows.layers());
  for (std::size_t l = 0; l < rows.layers(); ++l) {
    count_layer(rows, l, affinity.layers[l]);
    if (l + 1 < rows.layers()) count_next(rows, l, affinity.layers[l]);
  }
  for (std::size_t row = 0; row < rows.rows(); ++row) affinity.rows += rows.weight(row);
  return affinity;
}

}  // namespace foregate
