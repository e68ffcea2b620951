// Keeps the load of ranks even while a layer's placement changes: the limit, and exchanges that bring it about. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/placement/plan.h"

namespace foregate {

class LayerLoad {
 public:
  LayerLoad(std::span<const float> uses, std::int32_t ranks, double max_imbalance);

  void reset(const LayerHomes& homes);
  double limit() const { return limit_; }
  double at(std::int32_t rank) const { return load_[static_cast<std::size_t>(rank)]; }
  double excess() const;  // summed over the ranks that are above the limit
  // Whether exchanging experts a and b leaves the excess as it is or lowers it.
  bool allows(const LayerHomes& homes, std::size_t a, std::size_t b) const;
  void exchange(LayerHomes& homes, std::size_t a, std::size_t b);
  // Exchanges experts of the most loaded rank, the least `loss` per load moved first, until all are within the limit or
  // no exchange helps. loss(a, b) may be negative.
  void even_out(LayerHomes& homes, const std::function<double(std::size_t, std::size_t)>& loss);

 private:
  std::vector<double> uses_;
  std::vector<double> load_;
  double limit_;
};

}  // namespace foregate
