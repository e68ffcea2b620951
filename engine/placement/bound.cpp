#include "engine/placement/bound.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace foregate {
namespace {

// Householder reflections bring the matrix to tridiagonal form (Golub and Van Loan, section 8.3).
void tridiagonalize(std::vector<double>& a, std::size_t n, std::vector<double>& diagonal, std::vector<double>& off) {
  std::vector<double> v(n), p(n);
  for (std::size_t k = 0; k + 2 < n; ++k) {
    double norm = 0.0;
    for (std::size_t i = k + 1; i < n; ++i) norm += a[i * n + k] * a[i * n + k];
    norm = std::sqrt(norm);
    off[k] = norm;
    if (norm == 0.0) continue;
    const double head = a[(k + 1) * n + k];
    const double alpha = head > 0 ? -norm : norm;
    off[k] = alpha;
    double square = 0.0;
    for (std::size_t i = k + 1; i < n; ++i) {
      v[i] = a[i * n + k] - (i == k + 1 ? alpha : 0.0);
      square += v[i] * v[i];
    }
    const double beta = 2.0 / square;
    double dot = 0.0;
    for (std::size_t i = k + 1; i < n; ++i) {
      p[i] = beta * std::inner_product(v.begin() + static_cast<std::ptrdiff_t>(k) + 1, v.end(), &a[i * n + k + 1], 0.0);
      dot += v[i] * p[i];
    }
    for (std::size_t i = k + 1; i < n; ++i) p[i] -= 0.5 * beta * dot * v[i];
    for (std::size_t i = k + 1; i < n; ++i) {
      for (std::size_t j = k + 1; j < n; ++j) a[i * n + j] -= v[i] * p[j] + p[i] * v[j];
    }
  }
  for (std::size_t i = 0; i < n; ++i) diagonal[i] = a[i * n + i];
  if (n > 1) off[n - 2] = a[(n - 1) * n + n - 2];
}

// How many eigenvalues of the tridiagonal matrix lie below x: sign changes of the Sturm sequence.
std::size_t below(const std::vector<double>& diagonal, const std::vector<double>& off, double x) {
  std::size_t count = 0;
  double q = 1.0;
  for (std::size_t i = 0; i < diagonal.size(); ++i) {
    const double square = i > 0 ? off[i - 1] * off[i - 1] : 0.0;
    q = diagonal[i] - x - (i > 0 ? square / q : 0.0);
    if (q == 0.0) q = std::numeric_limits<double>::min();
    count += q < 0 ? 1 : 0;
  }
  return count;
}

// The eigenvalue with `rank` others below it, by bisection; at or above the true one by no more than rounding.
double eigenvalue(const std::vector<double>& diagonal, const std::vector<double>& off, std::size_t rank, double low,
                  double high) {
  while (high - low > 1e-10 * std::max(1.0, std::abs(high))) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high) break;
    (below(diagonal, off, middle) > rank ? high : low) = middle;
  }
  return high;
}

std::vector<double> largest_eigenvalues(std::vector<double> matrix, std::size_t n, std::size_t count) {
  if (n == 0) return {};
  std::vector<double> diagonal(n), off(n > 1 ? n - 1 : 0), values;
  tridiagonalize(matrix, n, diagonal, off);
  double reach = 0.0;  // Gershgorin
  for (std::size_t i = 0; i < n; ++i) {
    reach = std::max(
        reach, std::abs(diagonal[i]) + (i > 0 ? std::abs(off[i - 1]) : 0.0) + (i + 1 < n ? std::abs(off[i]) : 0.0));
  }
  for (std::size_t i = 0; i < std::min(count, n); ++i) {
    values.push_back(eigenvalue(diagonal, off, n - 1 - i, -reach - 1e-9, reach + 1e-9));
  }
  return values;
}

// Sum over lines of their `capacity` largest entries.
double line_bound(std::span<const float> counts, std::size_t rows, std::size_t columns, std::size_t capacity,
                  bool by_row) {
  const std::size_t lines = by_row ? rows : columns, length = by_row ? columns : rows;
  std::vector<float> line(length);
  double sum = 0.0;
  for (std::size_t l = 0; l < lines; ++l) {
    for (std::size_t i = 0; i < length; ++i) line[i] = by_row ? counts[l * columns + i] : counts[i * columns + l];
    const auto end = line.begin() + static_cast<std::ptrdiff_t>(std::min(capacity, length));
    std::partial_sort(line.begin(), end, line.end(), std::greater<>());
    sum += std::accumulate(line.begin(), end, 0.0);
  }
  return sum;
}

// Pairs on one rank when top_k experts lie on d ranks, at least: spread as evenly as can be.
double pairs_on(std::int32_t top_k, std::int32_t d) {
  const double each = top_k / d, more = top_k % d;
  return more * (each + 1) * each / 2 + (d - more) * each * (each - 1) / 2;
}

// Ranks that rows touch on average, at least, when `pairs` of their pairs are on one rank: pairs_on is convex in d, so
// that it is least when all rows touch equally many.
double ranks_for_pairs(std::int32_t top_k, double pairs) {
  std::int32_t d = 1;
  while (d < top_k && pairs_on(top_k, d + 1) >= pairs) ++d;
  if (d == top_k) return top_k;
  const double above = pairs_on(top_k, d), below = pairs_on(top_k, d + 1);
  return d + std::clamp((above - pairs) / (above - below), 0.0, 1.0);
}

std::int32_t capacity_of(std::size_t experts, std::int32_t ranks) {
  return (static_cast<std::int32_t>(experts) + ranks - 1) / ranks;
}

}  // namespace

std::vector<double> symmetric_eigenvalues(std::vector<double> matrix, std::size_t n) {
  return largest_eigenvalues(std::move(matrix), n, n);
}

double stay_bound(std::span<const float> counts, std::size_t rows, std::size_t columns, std::int32_t ranks,
                  std::int32_t capacity) {
  const auto each = static_cast<std::size_t>(capacity);
  const double by_lines =
      std::min(line_bound(counts, rows, columns, each, true), line_bound(counts, rows, columns, each, false));
  std::vector<double> gram(columns * columns, 0.0);  // its eigenvalues are the squared singular values
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t i = 0; i < columns; ++i) {
      const double value = counts[r * columns + i];
      if (value == 0.0) continue;
      for (std::size_t j = 0; j < columns; ++j) gram[i * columns + j] += value * counts[r * columns + j];
    }
  }
  double sum = 0.0;
  for (const double square : largest_eigenvalues(std::move(gram), columns, static_cast<std::size_t>(ranks))) {
    sum += std::sqrt(std::max(square, 0.0));
  }
  return std::min(by_lines, sum * capacity);
}

double crossings_bound(const Affinity& affinity, std::int32_t ranks) {
  double all = 0.0, stay = 0.0;
  for (std::size_t l = 0; l + 1 < affinity.layers.size(); ++l) {
    const auto& counts = affinity.layers[l].next;
    const std::size_t rows = affinity.layers[l].uses.size(), columns = affinity.layers[l + 1].uses.size();
    const double mass = std::accumulate(counts.begin(), counts.end(), 0.0);
    const std::int32_t capacity = std::max(capacity_of(rows, ranks), capacity_of(columns, ranks));
    all += mass;
    stay += std::min(mass, stay_bound(counts, rows, columns, ranks, capacity));
  }
  return all > 0 ? 1.0 - stay / all : 0.0;
}

double distinct_bound(const Affinity& affinity, std::int32_t top_k, std::int32_t ranks) {
  if (affinity.layers.empty() || affinity.rows <= 0 || top_k < 2) return 1.0;
  double sum = 0.0;
  for (const LayerAffinity& layer : affinity.layers) {
    const std::size_t n = layer.uses.size();
    const std::int32_t capacity = capacity_of(n, ranks);
    std::vector<double> matrix(layer.together.begin(), layer.together.end());
    double spectral = 0.0;
    for (const double value : largest_eigenvalues(std::move(matrix), n, static_cast<std::size_t>(ranks))) {
      spectral += std::max(value, 0.0);
    }
    // A row's own experts do not count as its partners: capacity - 1 others fit beside each.
    const double ordered =
        std::min(line_bound(layer.together, n, n, static_cast<std::size_t>(std::max(capacity - 1, 0)), true),
                 spectral * capacity);
    const double pairs = std::min(0.5 * ordered / affinity.rows, pairs_on(top_k, 1));
    sum += std::max(ranks_for_pairs(top_k, pairs), std::ceil(static_cast<double>(top_k) / capacity));
  }
  return sum / static_cast<double>(affinity.layers.size());
}

}  // namespace foregate
