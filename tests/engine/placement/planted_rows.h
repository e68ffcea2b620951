// Rows with a placement hidden in them: each row belongs to one rank and chooses mostly that rank's experts.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "engine/placement/affinity.h"
#include "engine/placement/clusters.h"
#include "engine/placement/plan.h"

namespace foregate {

struct Planted {
  RouteRows rows;
  std::vector<LayerHomes> homes;
};

struct PlantedShape {
  std::int32_t layers = 6;
  std::int32_t experts = 32;
  std::int32_t ranks = 4;
  std::int32_t top_k = 2;
  std::size_t rows = 3000;
  double astray = 0.2;  // share of choices that are of any rank
};

inline LayerHomes shuffled_homes(std::int32_t experts, std::int32_t ranks, Draws& draws) {
  LayerHomes homes(static_cast<std::size_t>(experts));
  for (std::size_t e = 0; e < homes.size(); ++e) homes[e] = static_cast<std::int32_t>(e) % ranks;
  for (std::size_t e = homes.size(); e > 1; --e) std::swap(homes[e - 1], homes[draws.below(e)]);
  return homes;
}

inline Planted planted_rows(const PlantedShape& shape, std::uint64_t seed) {
  Draws draws(seed, 1);
  Planted planted;
  planted.rows.top_k = shape.top_k;
  const auto experts = static_cast<std::size_t>(shape.experts);
  for (std::int32_t l = 0; l < shape.layers; ++l) {
    planted.homes.push_back(shuffled_homes(shape.experts, shape.ranks, draws));
    planted.rows.experts.push_back(shape.experts);
    planted.rows.ids.emplace_back();
  }
  for (std::size_t row = 0; row < shape.rows; ++row) {
    const auto own = static_cast<std::int32_t>(draws.below(static_cast<std::size_t>(shape.ranks)));
    for (std::size_t l = 0; l < planted.homes.size(); ++l) {
      std::vector<std::uint16_t> chosen;
      while (chosen.size() < static_cast<std::size_t>(shape.top_k)) {
        const bool stray = draws.below(1000) < static_cast<std::size_t>(shape.astray * 1000);
        std::size_t e = draws.below(experts);
        while (!stray && planted.homes[l][e] != own) e = draws.below(experts);
        const auto id = static_cast<std::uint16_t>(e);
        if (std::find(chosen.begin(), chosen.end(), id) == chosen.end()) chosen.push_back(id);
      }
      planted.rows.ids[l].insert(planted.rows.ids[l].end(), chosen.begin(), chosen.end());
    }
  }
  return planted;
}

}  // namespace foregate
