#include "engine/placement/distinct_search.h"

#include <algorithm>

#include "engine/placement/layer_load.h"

namespace foregate {
namespace {

constexpr double kLeastGain = 1e-6;
constexpr std::size_t kTries = 8;  // partners whose exchange is counted exactly, best first

// The rows of one layer and the placement they are counted for.
class LayerRows {
 public:
  LayerRows(const RouteRows& rows, std::size_t layer, std::int32_t ranks, LayerHomes homes)
      : rows_(rows),
        layer_(layer),
        width_(static_cast<std::size_t>(ranks)),
        homes_(std::move(homes)),
        rows_of_(homes_.size()),
        count_(rows.rows() * width_, 0),
        gain_(homes_.size() * width_, 0.0) {
    for (std::size_t row = 0; row < rows.rows(); ++row) {
      for (const std::size_t e : rows.of(layer, row)) {
        rows_of_[e].push_back(row);
        ++count_[row * width_ + static_cast<std::size_t>(homes_[e])];
      }
    }
    for (std::size_t row = 0; row < rows.rows(); ++row) add_gains(row, 1.0);
  }

  LayerHomes& homes() { return homes_; }
  // At least what exchanging a and b would save, in ranks touched: exact but for the rows that chose both.
  double at_most(std::size_t a, std::size_t b) const {
    return gain_[a * width_ + static_cast<std::size_t>(homes_[b])] +
           gain_[b * width_ + static_cast<std::size_t>(homes_[a])];
  }
  double exactly(std::size_t a, std::size_t b) const {
    double gain = at_most(a, b);
    const auto p = static_cast<std::size_t>(homes_[a]), q = static_cast<std::size_t>(homes_[b]);
    auto x = rows_of_[a].begin(), y = rows_of_[b].begin();
    while (x != rows_of_[a].end() && y != rows_of_[b].end()) {
      if (*x == *y) {  // it touches both ranks before and after
        const std::uint16_t* count = &count_[*x * width_];
        gain -= rows_.weight(*x) * ((count[p] == 1 ? 1.0 : 0.0) + (count[q] == 1 ? 1.0 : 0.0));
        ++x, ++y;
      } else if (*x < *y) {
        ++x;
      } else {
        ++y;
      }
    }
    return gain;
  }
  void exchange(std::size_t a, std::size_t b, LayerLoad& load) {
    const auto p = static_cast<std::size_t>(homes_[a]), q = static_cast<std::size_t>(homes_[b]);
    std::vector<std::size_t> changed;
    std::set_union(rows_of_[a].begin(), rows_of_[a].end(), rows_of_[b].begin(), rows_of_[b].end(),
                   std::back_inserter(changed));
    for (const std::size_t row : changed) add_gains(row, -1.0);
    for (const std::size_t row : rows_of_[a]) --count_[row * width_ + p], ++count_[row * width_ + q];
    for (const std::size_t row : rows_of_[b]) --count_[row * width_ + q], ++count_[row * width_ + p];
    load.exchange(homes_, a, b);
    for (const std::size_t row : changed) add_gains(row, 1.0);
  }

 private:
  // What moving each of the row's experts to each other rank would save this row.
  void add_gains(std::size_t row, double sign) {
    const std::uint16_t* count = &count_[row * width_];
    const double weight = sign * rows_.weight(row);
    for (const std::size_t e : rows_.of(layer_, row)) {
      const auto p = static_cast<std::size_t>(homes_[e]);
      double* gain = &gain_[e * width_];
      const double leaves = count[p] == 1 ? weight : 0.0;
      for (std::size_t q = 0; q < width_; ++q) {
        if (q != p) gain[q] += leaves - (count[q] == 0 ? weight : 0.0);
      }
    }
  }

  const RouteRows& rows_;
  std::size_t layer_, width_;
  LayerHomes homes_;
  std::vector<std::vector<std::size_t>> rows_of_;  // by expert, ascending
  std::vector<std::uint16_t> count_;               // [row, rank] experts of the row there
  std::vector<double> gain_;                       // [expert, rank]
};

// The best exchange of expert a that keeps the load, if any gains.
bool improve(LayerRows& rows, LayerLoad& load, std::size_t a, std::vector<std::pair<double, std::size_t>>& partners) {
  const LayerHomes& homes = rows.homes();
  partners.clear();
  for (std::size_t b = 0; b < homes.size(); ++b) {
    if (homes[b] == homes[a]) continue;
    const double gain = rows.at_most(a, b);
    if (gain > kLeastGain && load.allows(homes, a, b)) partners.emplace_back(-gain, b);
  }
  const auto end = partners.begin() + static_cast<std::ptrdiff_t>(std::min(partners.size(), kTries));
  std::partial_sort(partners.begin(), end, partners.end());
  double best = kLeastGain;
  std::size_t best_b = a;
  for (auto at = partners.begin(); at != end && -at->first > best; ++at) {
    const double gain = rows.exactly(a, at->second);
    if (gain <= best) continue;
    best = gain;
    best_b = at->second;
  }
  if (best_b == a) return false;
  rows.exchange(a, best_b, load);
  return true;
}

LayerHomes place(const RouteRows& rows, const Affinity& affinity, const SolverOptions& options, std::size_t layer,
                 Draws& draws, std::int32_t& sweeps) {
  const LayerAffinity& counts = affinity.layers[layer];
  const std::vector<double> likeness(counts.together.begin(), counts.together.end());
  LayerHomes homes = cluster_experts(likeness, counts.uses.size(), options.ranks, draws);
  LayerLoad load(counts.uses, options.ranks, options.max_imbalance);
  load.reset(homes);
  if (load.excess() > 0) {
    const std::size_t n = homes.size();
    load.even_out(homes, [&](std::size_t a, std::size_t b) {  // likeness lost; a loss of nothing is a price of nothing
      double loss = 0.0;
      for (std::size_t e = 0; e < n; ++e) {
        if (e == a || e == b) continue;
        const double towards_a = likeness[a * n + e] - likeness[b * n + e];
        loss += homes[e] == homes[a] ? towards_a : homes[e] == homes[b] ? -towards_a : 0.0;
      }
      return loss;
    });
  }
  LayerRows counted(rows, layer, options.ranks, std::move(homes));
  std::vector<std::pair<double, std::size_t>> partners;
  for (std::int32_t sweep = 0; sweep < options.max_sweeps; ++sweep, ++sweeps) {
    bool changed = false;
    for (std::size_t a = 0; a < counted.homes().size(); ++a) changed |= improve(counted, load, a, partners);
    if (!changed) break;
  }
  return counted.homes();
}

}  // namespace

std::vector<LayerHomes> search_distinct(const RouteRows& rows, const Affinity& affinity, const SolverOptions& options,
                                        std::int32_t restart, std::int32_t& sweeps) {
  std::vector<LayerHomes> homes;
  for (std::size_t l = 0; l < rows.layers(); ++l) {
    Draws draws(options.seed, (static_cast<std::uint64_t>(restart) << 32) + l);
    homes.push_back(place(rows, affinity, options, l, draws, sweeps));
  }
  return homes;
}

}  // namespace foregate
