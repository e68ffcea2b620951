#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ref/ref_ops.h"

namespace foregate::ref {
namespace {

struct Candidate {
  std::int32_t id;
  double weight;
};

// Those that min_p and top_k leave, in order of their ids; the likeliest has weight 1.
std::vector<Candidate> candidates_of(const float* row, std::int64_t cols, float highest, const SampleRule& rule) {
  float least = -INFINITY;
  if (rule.top_k > 0 && rule.top_k < cols) {
    std::vector<float> sorted(row, row + cols);
    std::nth_element(sorted.begin(), sorted.begin() + rule.top_k - 1, sorted.end(), std::greater<>());
    least = sorted[static_cast<std::size_t>(rule.top_k) - 1];
  }
  std::vector<Candidate> candidates;
  for (std::int64_t i = 0; i < cols; ++i) {
    const double exponent = (static_cast<double>(row[i]) - highest) / rule.temperature;
    const double weight = exponent < -87 ? 0 : std::exp(exponent);
    if (row[i] >= least && weight > 0 && weight >= rule.min_p) {
      candidates.push_back({static_cast<std::int32_t>(i), weight});
    }
  }
  return candidates;
}

void keep_top_p(std::vector<Candidate>& candidates, double top_p) {
  double total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  std::vector<Candidate> likeliest = candidates;
  std::stable_sort(likeliest.begin(), likeliest.end(),
                   [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
  std::size_t kept = 0;
  for (double mass = 0; kept < likeliest.size() && (kept == 0 || mass < top_p * total); ++kept) {
    mass += likeliest[kept].weight;
  }
  likeliest.resize(kept);
  std::sort(likeliest.begin(), likeliest.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  candidates = std::move(likeliest);
}

std::int32_t token_of(const float* row, std::int64_t cols, const SampleRule& rule) {
  if (!rule.wanted) return kNotSampled;
  if (!std::all_of(row, row + cols, [](float x) { return std::isfinite(x); })) return kSampleNotFinite;
  const float* best = std::max_element(row, row + cols);
  if (rule.temperature < 1e-5f) return static_cast<std::int32_t>(best - row);
  std::vector<Candidate> candidates = candidates_of(row, cols, *best, rule);
  if (rule.top_p < 1.0f) keep_top_p(candidates, rule.top_p);
  double total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  double left = rule.draw * total;
  for (const Candidate& c : candidates) {
    left -= c.weight;
    if (left < 0) return c.id;
  }
  return candidates.back().id;
}

}  // namespace

void sample(Stream&, const SampleArgs& args) {
  for (std::int64_t r = 0; r < args.logits.rows; ++r) {
    args.tokens[r] = token_of(args.logits.data + r * args.logits.stride, args.logits.cols, args.rules[r]);
  }
}

}  // namespace foregate::ref
