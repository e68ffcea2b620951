#include "tools/bench/planted_routing.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "tools/bench/random_weights.h"

namespace foregate {
namespace {

constexpr int kBisections = 60;
// Streams of a seed that no weight uses.
constexpr std::uint64_t kOrderStream = std::uint64_t{1} << 40;
constexpr std::uint64_t kRowStream = std::uint64_t{1} << 41;

// The value below which a standard normal falls with `probability`.
double normal_quantile(double probability) {
  double low = -10.0;
  double high = 10.0;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::numbers::sqrt2) < probability ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace

Status check_routing(const RoutingPlan& plan) {
  if (!(plan.skew >= 0.0 && plan.skew <= kMostSkew)) return invalid_argument("must lie between 0 and 4", "skew");
  if (!(plan.affinity >= 0.0 && plan.affinity <= 1.0)) return invalid_argument("must lie between 0 and 1", "affinity");
  return {};
}

std::vector<double> planted_shares(std::int32_t experts, std::int32_t top_k, double skew) {
  std::vector<double> shares(static_cast<std::size_t>(experts), 1.0);
  if (top_k >= experts) return shares;
  const double most = std::max(kMostPopular, static_cast<double>(top_k) / experts);
  const auto fill = [&](double scale) {
    double sum = 0.0;
    for (std::size_t r = 0; r < shares.size(); ++r) {
      shares[r] = std::min(most, scale * std::pow(static_cast<double>(r + 1), -skew));
      sum += shares[r];
    }
    return sum;
  };
  double low = 0.0;
  double high = 1.0;
  while (fill(high) < top_k && high < 1e12) high *= 2.0;
  for (int i = 0; i < kBisections; ++i) {
    const double middle = 0.5 * (low + high);
    (fill(middle) < top_k ? low : high) = middle;
  }
  fill(high);
  return shares;
}

std::vector<float> planted_biases(std::int32_t experts, std::int32_t top_k, double skew, double sigma) {
  std::vector<float> biases(static_cast<std::size_t>(experts), 0.0f);
  if (skew == 0.0 || top_k >= experts) return biases;
  const std::vector<double> shares = planted_shares(experts, top_k, skew);
  for (std::size_t r = 0; r < biases.size(); ++r) {
    biases[r] = static_cast<float>(sigma * normal_quantile(shares[r]));
  }
  return biases;
}

std::vector<std::int32_t> expert_of_rank(std::int32_t experts, std::int32_t layer, std::uint64_t seed) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(experts));
  std::iota(order.begin(), order.end(), 0);
  FastRandom random(stream_seed(seed, kOrderStream + static_cast<std::uint64_t>(layer)));
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[random.below(static_cast<std::uint32_t>(i))]);
  }
  return order;
}

RouterRows::RouterRows(std::int32_t experts, std::int32_t hidden, float deviation, const RoutingPlan& plan)
    : experts_(experts), hidden_(hidden), deviation_(deviation), plan_(plan) {}

std::vector<float> RouterRows::next() {
  FastRandom random(stream_seed(plan_.seed, kRowStream + static_cast<std::uint64_t>(layer_)));
  const auto width = static_cast<std::size_t>(hidden_);
  const auto old = static_cast<float>(layer_ == 0 ? 0.0 : plan_.affinity);
  const auto fresh = deviation_ * std::sqrt(1.0f - old * old);
  rows_.resize(static_cast<std::size_t>(experts_) * width, 0.0f);
  for (float& value : rows_) value = old * value + fresh * random.normal();
  const std::vector<std::int32_t> order = expert_of_rank(experts_, layer_++, plan_.seed);
  std::vector<float> by_expert(rows_.size());
  for (std::size_t r = 0; r < order.size(); ++r) {
    std::copy_n(rows_.begin() + static_cast<std::ptrdiff_t>(r * width), width,
                by_expert.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(order[r]) * width));
  }
  return by_expert;
}

}  // namespace foregate
