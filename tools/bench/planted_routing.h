// Routers whose routing is known: how popular each expert is and how experts of neighbouring layers go together. Pure
// functions of a seed.
//
// Skew S: the expert of popularity rank r (from 1) is chosen by a share of tokens proportional to r^-S, at most
// kMostPopular. Router logits of a random row are normal, so the bias sigma * quantile(share) under a common threshold
// gives each expert its share.
// Affinity A: the router row of rank r in a layer is A times that of rank r in the layer before, the rest fresh noise
// of the same length: A is the correlation of their logits as long as the residual stream turns little between layers.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

struct RoutingPlan {
  double skew = 0.0;      // 0: all experts alike; 1: Zipf
  double affinity = 0.0;  // 0: layers do not know of one another; 1: rank r follows rank r
  std::uint64_t seed = 0;
};
inline constexpr double kMostPopular = 0.99;
inline constexpr double kMostSkew = 4.0;

// kInvalidArgument naming "skew" or "affinity" when out of range.
Status check_routing(const RoutingPlan& plan);

// The share of tokens that choose the expert of each rank; their sum is top_k.
std::vector<double> planted_shares(std::int32_t experts, std::int32_t top_k, double skew);

// Biases by rank for router logits of deviation `sigma`; all zero without skew.
std::vector<float> planted_biases(std::int32_t experts, std::int32_t top_k, double skew, double sigma);

// The expert of each rank in a layer.
std::vector<std::int32_t> expert_of_rank(std::int32_t experts, std::int32_t layer, std::uint64_t seed);

// Router rows of one layer after another. By rank; row-major [experts, hidden] with deviation `deviation`.
class RouterRows {
 public:
  RouterRows(std::int32_t experts, std::int32_t hidden, float deviation, const RoutingPlan& plan);
  // Goes on to the next layer, from 0, and returns its rows by expert number.
  std::vector<float> next();

 private:
  std::int32_t experts_;
  std::int32_t hidden_;
  float deviation_;
  RoutingPlan plan_;
  std::int32_t layer_ = 0;
  std::vector<float> rows_;  // of the last layer, by rank
};

}  // namespace foregate
