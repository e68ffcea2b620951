// Routing made up for tests, by the statistics that matter to a cache: how skewed the experts of a layer are, and how
// much a token routes like the one before. Pure functions of their arguments.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/experts/eviction.h"

namespace foregate {

// A LayerUse with its memory.
struct MadeUse {
  std::int64_t step = 0;
  std::int32_t layer = 0;
  UsePhase phase = UsePhase::kDecode;
  std::vector<std::int32_t> experts;
  std::vector<std::int32_t> rows;
  std::vector<std::int32_t> decode_rows = {};
  LayerUse use() const { return {step, LayerId{layer}, phase, experts, rows, decode_rows}; }
};

struct MadeRouting {
  std::int32_t layers = 8;
  std::int32_t experts = 32;
  std::int32_t top_k = 4;
  std::int32_t tokens = 200;
  double skew = 0;    // weight of the expert of rank r: 1 / (r + 1)^skew, ranks shuffled per layer
  double sticky = 0;  // chance that an expert of the token before is taken over
  std::uint64_t seed = 1;
};

// One decode step of one row per token, layer by layer.
std::vector<MadeUse> made_uses(const MadeRouting& routing);

}  // namespace foregate
