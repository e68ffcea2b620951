#include "engine/placement/measure.h"

#include <algorithm>
#include <numeric>

namespace foregate {
namespace {

// Sums over layers and rows; the ranks of a row's experts come from outside.
class Tally {
 public:
  Tally(std::int32_t ranks, std::size_t layers)
      : load_(layers, std::vector<double>(static_cast<std::size_t>(ranks), 0.0)),
        seen_(static_cast<std::size_t>(ranks), 0) {}

  void add(std::size_t layer, std::span<const std::int32_t> at, double weight) {
    double distinct = 0.0;
    for (const std::int32_t rank : at) {
      std::uint8_t& seen = seen_[static_cast<std::size_t>(rank)];
      distinct += seen == 0 ? 1.0 : 0.0;
      seen = 1;
      load_[layer][static_cast<std::size_t>(rank)] += weight;
    }
    for (const std::int32_t rank : at) seen_[static_cast<std::size_t>(rank)] = 0;
    distinct_ += distinct * weight;
    touched_ += weight;
  }
  void cross(std::span<const std::int32_t> from, std::span<const std::int32_t> to, double weight) {
    std::size_t apart = 0;
    for (const std::int32_t a : from) {
      apart += static_cast<std::size_t>(std::count_if(to.begin(), to.end(), [a](std::int32_t b) { return a != b; }));
    }
    crossed_ += weight * static_cast<double>(apart);
    pairs_ += weight * static_cast<double>(from.size() * to.size());
  }
  const std::vector<double>& load(std::size_t layer) const { return load_[layer]; }

  PlacementFigures figures() const {
    PlacementFigures figures;
    if (touched_ <= 0) return figures;
    figures.crossings = pairs_ > 0 ? crossed_ / pairs_ : 0.0;
    figures.distinct = distinct_ / touched_;
    figures.mean_imbalance = 0.0;
    for (const auto& load : load_) {
      const double mean = std::accumulate(load.begin(), load.end(), 0.0) / static_cast<double>(load.size());
      const double ratio = mean > 0 ? *std::max_element(load.begin(), load.end()) / mean : 1.0;
      figures.imbalance = std::max(figures.imbalance, ratio);
      figures.mean_imbalance += ratio / static_cast<double>(load_.size());
    }
    return figures;
  }

 private:
  std::vector<std::vector<double>> load_;  // [layer][rank]
  std::vector<std::uint8_t> seen_;
  double crossed_ = 0.0, pairs_ = 0.0, distinct_ = 0.0, touched_ = 0.0;
};

template <class Choose>
PlacementFigures tally(const RouteRows& rows, std::int32_t ranks, Choose choose) {
  Tally sums(ranks, rows.layers());
  std::vector<std::int32_t> here(static_cast<std::size_t>(rows.top_k)), before(here.size());
  for (std::size_t row = 0; row < rows.rows(); ++row) {
    for (std::size_t l = 0; l < rows.layers(); ++l) {
      choose(l, row, sums, here);
      sums.add(l, here, rows.weight(row));
      if (l > 0) sums.cross(before, here, rows.weight(row));
      std::swap(here, before);
    }
  }
  return sums.figures();
}

}  // namespace

std::vector<LayerHomes> nodes_of(std::vector<LayerHomes> homes, std::int32_t ranks, std::int32_t nodes) {
  const std::int32_t each = ranks / nodes;
  for (LayerHomes& layer : homes) {
    for (std::int32_t& home : layer) home /= each;
  }
  return homes;
}

PlacementFigures measure(const std::vector<LayerHomes>& homes, std::int32_t ranks, const RouteRows& rows) {
  return tally(rows, ranks, [&](std::size_t l, std::size_t row, const Tally&, std::vector<std::int32_t>& at) {
    const auto ids = rows.of(l, row);
    at.resize(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) at[i] = homes[l][ids[i]];
  });
}

PlacementFigures measure(const PlacementPlan& plan, std::span<const LayerId> layer_of, const RouteRows& rows) {
  // holders[layer][expert]: its home first.
  std::vector<std::vector<std::vector<std::int32_t>>> holders(rows.layers());
  for (std::size_t l = 0; l < rows.layers(); ++l) {
    for (const std::int32_t home : plan.homes_of(layer_of[l])) holders[l].push_back({home});
    for (const ExpertCopy& copy : plan.copies()) {
      if (copy.layer == layer_of[l]) holders[l][static_cast<std::size_t>(copy.expert.value)].push_back(copy.rank.value);
    }
  }
  const auto choose = [&](std::size_t l, std::size_t row, const Tally& sums, std::vector<std::int32_t>& at) {
    const auto ids = rows.of(l, row);
    at.resize(ids.size());
    std::vector<std::int32_t> touched;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      at[i] = holders[l][ids[i]][0];
      if (holders[l][ids[i]].size() == 1) touched.push_back(at[i]);
    }
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto& options = holders[l][ids[i]];
      if (options.size() == 1) continue;
      const auto cost = [&](std::int32_t rank) {
        const bool near = std::find(touched.begin(), touched.end(), rank) != touched.end();
        return std::pair(near ? 0 : 1, sums.load(l)[static_cast<std::size_t>(rank)]);
      };
      at[i] = *std::min_element(options.begin(), options.end(),
                                [&cost](std::int32_t a, std::int32_t b) { return cost(a) < cost(b); });
      touched.push_back(at[i]);
    }
  };
  return tally(rows, plan.ranks(), choose);
}

}  // namespace foregate
