// What a sample of rows was routed to, and counts of it: how often experts of a layer are chosen together, and which
// experts of the next layer follow. Plain values: whoever has a trace fills in the rows. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace foregate {

// In the place of an expert that a row has no use for; behind those that it has.
inline constexpr std::uint16_t kNoExpert = 0xffff;

// Rows through the layers with experts, in order. ids[layer][row * top_k + i], ids of one row in one layer distinct.
struct RouteRows {
  std::int32_t top_k = 1;
  std::vector<std::int32_t> experts;  // of each layer
  std::vector<std::vector<std::uint16_t>> ids;
  std::vector<float> weights;  // of each row; empty: all 1

  std::size_t layers() const { return experts.size(); }
  std::size_t rows() const { return ids.empty() ? 0 : ids[0].size() / static_cast<std::size_t>(top_k); }
  float weight(std::size_t row) const { return weights.empty() ? 1.0f : weights[row]; }
  std::span<const std::uint16_t> of(std::size_t layer, std::size_t row) const {
    const auto k = static_cast<std::size_t>(top_k);
    auto of_row = std::span(ids[layer]).subspan(row * k, k);
    while (!of_row.empty() && of_row.back() == kNoExpert) of_row = of_row.first(of_row.size() - 1);
    return of_row;
  }
};

// Gives each row half the weight of the row `half_life` later; 0 makes all equal.
void decay(RouteRows& rows, double half_life);

struct LayerAffinity {
  std::vector<float> uses;      // [experts] summed weight of the rows that chose it
  std::vector<float> together;  // [experts, experts] rows that chose both, symmetric, zero diagonal
  std::vector<float>
      next;  // [experts, experts of the next layer] rows, each spread over its top_k^2 pairs; last: empty
};

struct Affinity {
  std::vector<LayerAffinity> layers;
  double rows = 0.0;  // summed weight
};

Affinity count_affinity(const RouteRows& rows);

}  // namespace foregate
