#include "engine/placement/clusters.h"

#include <algorithm>
#include <cmath>

#include "engine/placement/assignment.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr int kMaxRounds = 8;

// sums[expert * ranks + rank]: likeness of the expert to the other members of the rank.
std::vector<double> likeness_to_ranks(std::span<const double> likeness, std::size_t n, std::int32_t ranks,
                                      const LayerHomes& homes) {
  const auto width = static_cast<std::size_t>(ranks);
  std::vector<double> sums(n * width, 0.0);
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < n; ++b) {
      if (a != b) sums[a * width + static_cast<std::size_t>(homes[b])] += likeness[a * n + b];
    }
  }
  return sums;
}

double likeness_within(const std::vector<double>& sums, std::int32_t ranks, const LayerHomes& homes) {
  double sum = 0.0;
  for (std::size_t e = 0; e < homes.size(); ++e) {
    sum += sums[e * static_cast<std::size_t>(ranks) + static_cast<std::size_t>(homes[e])];
  }
  return sum;
}

LayerHomes grow(std::span<const double> likeness, std::size_t n, std::int32_t ranks, Draws& draws) {
  const std::size_t each = n / static_cast<std::size_t>(ranks);
  LayerHomes homes(n, -1);
  std::vector<double> near(n);
  for (std::int32_t r = 0; r < ranks; ++r) {
    std::size_t pick = draws.below(n);
    while (homes[pick] >= 0) pick = (pick + 1) % n;
    std::fill(near.begin(), near.end(), 0.0);
    for (std::size_t i = 0;; ++i) {
      homes[pick] = r;
      if (i + 1 == each) break;
      std::size_t next = n;
      for (std::size_t e = 0; e < n; ++e) {
        if (homes[e] >= 0) continue;
        near[e] += likeness[pick * n + e];
        if (next == n || near[e] > near[next]) next = e;
      }
      pick = next;
    }
  }
  return homes;
}

void add_cosines(const std::vector<std::vector<double>>& vectors, std::vector<double>& into) {
  const std::size_t n = vectors.size();
  std::vector<double> norms(n, 0.0);
  for (std::size_t a = 0; a < n; ++a) {
    for (const double x : vectors[a]) norms[a] += x * x;
    norms[a] = std::sqrt(norms[a]);
  }
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = a + 1; b < n; ++b) {
      if (norms[a] == 0.0 || norms[b] == 0.0) continue;
      double dot = 0.0;
      for (std::size_t i = 0; i < vectors[a].size(); ++i) dot += vectors[a][i] * vectors[b][i];
      dot /= norms[a] * norms[b];
      into[a * n + b] += dot;
      into[b * n + a] += dot;
    }
  }
}

}  // namespace

LayerHomes cluster_experts(std::span<const double> likeness, std::size_t n, std::int32_t ranks, Draws& draws) {
  CHECK(ranks > 0 && n % static_cast<std::size_t>(ranks) == 0 && likeness.size() == n * n);
  LayerHomes homes = grow(likeness, n, ranks, draws);
  auto sums = likeness_to_ranks(likeness, n, ranks, homes);
  double within = likeness_within(sums, ranks, homes);
  for (int round = 0; round < kMaxRounds; ++round) {
    for (double& value : sums) value = -value;
    LayerHomes moved = cheapest_assignment(sums, ranks, static_cast<std::int32_t>(n) / ranks);
    sums = likeness_to_ranks(likeness, n, ranks, moved);
    const double now = likeness_within(sums, ranks, moved);
    if (now <= within * (1 + 1e-9)) break;
    within = now;
    homes = std::move(moved);
  }
  return homes;
}

std::vector<double> transition_likeness(const Affinity& affinity, std::size_t layer) {
  const LayerAffinity& here = affinity.layers[layer];
  const std::size_t n = here.uses.size();
  std::vector<double> likeness(n * n, 0.0);
  if (layer + 1 < affinity.layers.size()) {
    const std::size_t width = affinity.layers[layer + 1].uses.size();
    std::vector<std::vector<double>> after(n);
    for (std::size_t e = 0; e < n; ++e) {
      const auto row = here.next.begin() + static_cast<std::ptrdiff_t>(e * width);
      after[e].assign(row, row + static_cast<std::ptrdiff_t>(width));
    }
    add_cosines(after, likeness);
  }
  if (layer > 0) {
    const auto& previous = affinity.layers[layer - 1];
    std::vector<std::vector<double>> before(n, std::vector<double>(previous.uses.size()));
    for (std::size_t j = 0; j < previous.uses.size(); ++j) {
      for (std::size_t e = 0; e < n; ++e) before[e][j] = previous.next[j * n + e];
    }
    add_cosines(before, likeness);
  }
  for (std::size_t a = 0; a < n; ++a) {
    for (std::size_t b = 0; b < n; ++b) {
      const double uses = static_cast<double>(here.uses[a]) + here.uses[b];
      if (uses > 0) likeness[a * n + b] += 2.0 * here.together[a * n + b] / uses;
    }
  }
  return likeness;
}

}  // namespace foregate
