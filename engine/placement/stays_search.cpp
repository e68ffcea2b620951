#include "engine/placement/stays_search.h"

#include "engine/placement/assignment.h"
#include "engine/placement/layer_load.h"

namespace foregate {
namespace {

constexpr double kLeastGain = 1e-6;

class StaysSearch {
 public:
  StaysSearch(const Affinity& affinity, const SolverOptions& options, std::int32_t restart)
      : affinity_(affinity),
        options_(options),
        width_(static_cast<std::size_t>(options.ranks)),
        homes_(affinity.layers.size()),
        draws_(options.seed, static_cast<std::uint64_t>(restart)) {
    for (const LayerAffinity& layer : affinity.layers) {
      loads_.emplace_back(layer.uses, options.ranks, options.max_imbalance);
    }
  }

  std::vector<LayerHomes> run(std::int32_t restart, std::int32_t& sweeps) {
    const std::size_t layers = homes_.size();
    const std::size_t start = restart == 0 ? layers / 2 : draws_.below(layers);
    const auto likeness = transition_likeness(affinity_, start);
    homes_[start] = cluster_experts(likeness, affinity_.layers[start].uses.size(), options_.ranks, draws_);
    for (std::size_t l = start; l-- > 0;) place(l);
    for (std::size_t l = start + 1; l < layers; ++l) place(l);
    for (std::int32_t sweep = 0; sweep < options_.max_sweeps; ++sweep, ++sweeps) {
      bool changed = false;
      for (std::size_t i = 0; i < layers; ++i) changed |= place(sweep % 2 == 0 ? layers - 1 - i : i);
      changed |= align_ranks(affinity_, options_.ranks, homes_);
      if (!changed) break;
    }
    return std::move(homes_);
  }

 private:
  // Places a layer best for those neighbours that have a place. True when that is better than where it was.
  bool place(std::size_t layer) {
    stays_of(layer);
    LayerLoad& load = loads_[layer];
    std::vector<double> costs(stay_.size());
    for (std::size_t i = 0; i < costs.size(); ++i) costs[i] = -stay_[i];
    const std::size_t experts = affinity_.layers[layer].uses.size();
    LayerHomes moved = cheapest_assignment(costs, options_.ranks, static_cast<std::int32_t>(experts / width_));
    load.reset(moved);
    if (load.excess() > 0) {
      load.even_out(moved, [this, &moved](std::size_t a, std::size_t b) { return -gain(moved, a, b); });
      exchange(load, moved);
    }
    LayerHomes& old = homes_[layer];
    if (!old.empty()) {
      const double stay_now = stay(moved), excess_now = load.excess();
      load.reset(old);
      const double excess = load.excess();
      const bool lighter = excess_now < excess - kLeastGain;
      const bool better = excess_now <= excess + kLeastGain && stay_now > stay(old) + kLeastGain;
      if (!lighter && !better) return false;
    }
    old = std::move(moved);
    return true;
  }

  // stay_[expert * ranks + rank]: mass between the expert and the experts of both neighbours that are on the rank.
  void stays_of(std::size_t layer) {
    const std::size_t experts = affinity_.layers[layer].uses.size();
    stay_.assign(experts * width_, 0.0);
    if (layer > 0 && !homes_[layer - 1].empty()) {
      const auto& counts = affinity_.layers[layer - 1].next;
      for (std::size_t j = 0; j < homes_[layer - 1].size(); ++j) {
        const auto rank = static_cast<std::size_t>(homes_[layer - 1][j]);
        for (std::size_t e = 0; e < experts; ++e) stay_[e * width_ + rank] += counts[j * experts + e];
      }
    }
    if (layer + 1 < homes_.size() && !homes_[layer + 1].empty()) {
      const auto& counts = affinity_.layers[layer].next;
      const LayerHomes& after = homes_[layer + 1];
      for (std::size_t e = 0; e < experts; ++e) {
        for (std::size_t j = 0; j < after.size(); ++j) {
          stay_[e * width_ + static_cast<std::size_t>(after[j])] += counts[e * after.size() + j];
        }
      }
    }
  }

  double at(std::size_t expert, std::int32_t rank) const {
    return stay_[expert * width_ + static_cast<std::size_t>(rank)];
  }
  double stay(const LayerHomes& homes) const {
    double sum = 0.0;
    for (std::size_t e = 0; e < homes.size(); ++e) sum += at(e, homes[e]);
    return sum;
  }
  double gain(const LayerHomes& homes, std::size_t a, std::size_t b) const {
    return at(a, homes[b]) + at(b, homes[a]) - at(a, homes[a]) - at(b, homes[b]);
  }

  // Exchanges of two experts that gain and keep the load, until there are none.
  void exchange(LayerLoad& load, LayerHomes& homes) const {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t a = 0; a < homes.size(); ++a) {
        for (std::size_t b = a + 1; b < homes.size(); ++b) {
          if (homes[a] == homes[b] || gain(homes, a, b) <= kLeastGain || !load.allows(homes, a, b)) continue;
          load.exchange(homes, a, b);
          changed = true;
        }
      }
    }
  }

  const Affinity& affinity_;
  const SolverOptions& options_;
  std::size_t width_;
  std::vector<LayerHomes> homes_;  // empty: not placed yet
  std::vector<LayerLoad> loads_;
  Draws draws_;
  std::vector<double> stay_;
};

}  // namespace

std::vector<LayerHomes> search_stays(const Affinity& affinity, const SolverOptions& options, std::int32_t restart,
                                     std::int32_t& sweeps) {
  return StaysSearch(affinity, options, restart).run(restart, sweeps);
}

bool align_ranks(const Affinity& affinity, std::int32_t ranks, std::vector<LayerHomes>& homes) {
  const auto width = static_cast<std::size_t>(ranks);
  bool improved = false;
  for (std::size_t l = 0; l + 1 < homes.size(); ++l) {
    const auto& counts = affinity.layers[l].next;
    const LayerHomes &here = homes[l], &after = homes[l + 1];
    std::vector<double> costs(width * width, 0.0);  // [rank of the later layer, its new name]
    for (std::size_t a = 0; a < here.size(); ++a) {
      for (std::size_t b = 0; b < after.size(); ++b) {
        costs[static_cast<std::size_t>(after[b]) * width + static_cast<std::size_t>(here[a])] -=
            counts[a * after.size() + b];
      }
    }
    const auto name = cheapest_assignment(costs, ranks, 1);
    double gain = 0.0;
    for (std::size_t r = 0; r < width; ++r) {
      gain += costs[r * width + r] - costs[r * width + static_cast<std::size_t>(name[r])];
    }
    if (gain <= kLeastGain) continue;
    improved = true;
    for (std::size_t later = l + 1; later < homes.size(); ++later) {
      for (std::int32_t& rank : homes[later]) rank = name[static_cast<std::size_t>(rank)];
    }
  }
  return improved;
}

}  // namespace foregate
