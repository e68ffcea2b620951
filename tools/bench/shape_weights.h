// The bytes of a shape's weights, item by item of its plan: random matrices, norms of one, routers as planted. The same
// for a seed whoever asks, in whatever portions and on any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/model_config.h"
#include "engine/model/weight_plan.h"
#include "tools/bench/planted_routing.h"

namespace foregate {

// Where the packed bytes of an item go: packed_bytes() of it. Padding is left as it is, but for matrices.
struct WeightPlace {
  std::size_t item = 0;
  std::byte* packed = nullptr;
};

class ShapeWeights {
 public:
  // Of a model that open_shape() made and its plan; all three must outlive this. kInvalidArgument (field skew) when
  // routing is skewed and the model has no biases for it.
  static Result<ShapeWeights> create(const ModelConfig& config, const std::vector<WeightItem>& items,
                                     const RoutingPlan& routing);

  // Fills the places, `threads` sharing the work. Routers must come in the order of their layers, over all calls.
  void fill(std::span<const WeightPlace> places, int threads);

 private:
  ShapeWeights(const ModelConfig& config, const std::vector<WeightItem>& items, const RoutingPlan& routing);
  void fill_router(const WeightPlace& place);
  void fill_plain(const WeightPlace& place) const;
  void fill_vector(const WeightItem& item, float* values) const;
  float deviation(const WeightItem& item) const;

  const ModelConfig* config_;
  const std::vector<WeightItem>* items_;
  RoutingPlan routing_;
  std::vector<std::uint64_t> streams_;  // of random numbers, by item
  RouterRows router_rows_;
  std::int32_t rows_layer_ = -1;  // of rows_
  std::vector<float> rows_;
};

}  // namespace foregate
