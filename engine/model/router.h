// The router of one MoE layer as data: gate weights, optional biases and a RouterRule. The layer
// uses it to route; a predictor may run the same object on other inputs.
#pragma once

#include <cstdint>

#include "kernels/api/args_moe.h"
#include "kernels/api/op_table.h"

namespace foregate {

struct Router {
  RouterRule rule;
  PackedWeight gate;                      // [experts, hidden], f32: logits are computed in f32
  const float* logit_bias = nullptr;      // [experts] or null
  const float* selection_bias = nullptr;  // [experts] or null

  // Chosen experts and their weights for every row of x [T, hidden]: ids and weights [T, top_k],
  // by falling score. `logits` is scratch [T, experts] and holds the router logits afterwards.
  void route(const OpTable& ops, Stream& stream, View2<const float> x, float* logits, std::int32_t* ids,
             float* weights) const;
};

}  // namespace foregate
