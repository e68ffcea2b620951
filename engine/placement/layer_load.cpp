#include "engine/placement/layer_load.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace foregate {

LayerLoad::LayerLoad(std::span<const float> uses, std::int32_t ranks, double max_imbalance)
    : uses_(uses.begin(), uses.end()), load_(static_cast<std::size_t>(ranks), 0.0) {
  const double mean = std::accumulate(uses_.begin(), uses_.end(), 0.0) / ranks;
  const double hottest = uses_.empty() ? 0.0 : *std::max_element(uses_.begin(), uses_.end());
  limit_ = std::max(mean * std::max(max_imbalance, 1.0), hottest);
}

void LayerLoad::reset(const LayerHomes& homes) {
  std::fill(load_.begin(), load_.end(), 0.0);
  for (std::size_t e = 0; e < homes.size(); ++e) load_[static_cast<std::size_t>(homes[e])] += uses_[e];
}

double LayerLoad::excess() const {
  double sum = 0.0;
  for (const double load : load_) sum += std::max(load - limit_, 0.0);
  return sum;
}

bool LayerLoad::allows(const LayerHomes& homes, std::size_t a, std::size_t b) const {
  const auto over = [this](double load) { return std::max(load - limit_, 0.0); };
  const double from = at(homes[a]), to = at(homes[b]), moved = uses_[a] - uses_[b];
  return over(from - moved) + over(to + moved) <= over(from) + over(to) + 1e-9;
}

void LayerLoad::exchange(LayerHomes& homes, std::size_t a, std::size_t b) {
  const double moved = uses_[a] - uses_[b];
  load_[static_cast<std::size_t>(homes[a])] -= moved;
  load_[static_cast<std::size_t>(homes[b])] += moved;
  std::swap(homes[a], homes[b]);
}

void LayerLoad::even_out(LayerHomes& homes, const std::function<double(std::size_t, std::size_t)>& loss) {
  for (std::size_t step = 0; step < 4 * homes.size(); ++step) {
    const auto heaviest = static_cast<std::int32_t>(std::max_element(load_.begin(), load_.end()) - load_.begin());
    const double over = at(heaviest) - limit_;
    if (over <= 1e-9) return;
    double best = std::numeric_limits<double>::infinity();
    std::size_t best_a = 0, best_b = 0;
    for (std::size_t a = 0; a < homes.size(); ++a) {
      if (homes[a] != heaviest) continue;
      for (std::size_t b = 0; b < homes.size(); ++b) {
        const double moved = uses_[a] - uses_[b];
        if (homes[b] == heaviest || moved <= 1e-9 || at(homes[b]) + moved >= at(heaviest) - 1e-9) continue;
        const double beyond = std::max(at(homes[b]) + moved - limit_, 0.0);
        const double relief = std::min(moved, over) - beyond;
        if (relief <= 1e-9) continue;
        const double price = loss(a, b) / relief;
        if (price >= best) continue;
        best = price;
        best_a = a;
        best_b = b;
      }
    }
    if (best_a == best_b) return;
    exchange(homes, best_a, best_b);
  }
}

}  // namespace foregate
