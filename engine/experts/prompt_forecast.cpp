#include "engine/experts/prompt_forecast.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace foregate {
namespace {

constexpr double kFirstRows = 64;    // that what is known before the first prompt counts for
constexpr double kMostRows = 8192;   // of more, the older ones count half
constexpr double kFirstExperts = 8;  // that came as expected, before the first prompt
constexpr double kKept = 0.75;       // of what was expected and came, at each prompt

}  // namespace

// Counters of decode steps tell less than their length, as they forget quickly: half of the chance stays even.
PromptForecast::PromptForecast(const std::vector<std::int32_t>& experts, std::int32_t top_k,
                               const UseCounters& counters)
    : numbers_(experts), top_k_(top_k), uses_(numbers_.size()), layers_(experts.size()) {
  for (std::int32_t layer = 0; layer < numbers_.layers(); ++layer) {
    const std::int32_t count = numbers_.experts(LayerId{layer});
    layers_[static_cast<std::size_t>(layer)] = {.rows = kFirstRows, .expected = kFirstExperts, .came = kFirstExperts};
    for (std::int32_t e = 0; e < count; ++e) {
      const double even = top_k_ / count;
      const double known =
          counters.empty()
              ? even
              : static_cast<double>(counters.rates[static_cast<std::size_t>(layer)][static_cast<std::size_t>(e)]);
      uses_[numbers_.at({LayerId{layer}, ExpertId{e}})] = kFirstRows * std::min(1.0, (even + known) / 2);
    }
  }
}

double PromptForecast::rows_of(const LayerUse& use) const {
  return std::accumulate(use.rows.begin(), use.rows.end(), 0.0) / top_k_;
}

double PromptForecast::plain_chance(ExpertKey key, double rows) const {
  const double rate = uses_[numbers_.at(key)] / layers_[static_cast<std::size_t>(key.layer.value)].rows;
  return 1 - std::pow(1 - std::min(rate, 1.0), rows);
}

double PromptForecast::chance(ExpertKey key, double rows) const {
  const Layer& layer = layers_[static_cast<std::size_t>(key.layer.value)];
  return plain_chance(key, rows) * std::min(1.0, layer.came / layer.expected);
}

void PromptForecast::worth_reading(LayerId layer, double rows, std::vector<ExpertKey>& out) const {
  out.clear();
  for (std::int32_t e = 0; e < numbers_.experts(layer); ++e) {
    const ExpertKey key{layer, ExpertId{e}};
    if (foregate::worth_reading(chance(key, rows))) out.push_back(key);
  }
}

void PromptForecast::used(const LayerUse& use) {
  Layer& layer = layers_[static_cast<std::size_t>(use.layer.value)];
  const double rows = rows_of(use);
  const std::size_t first = numbers_.first(use.layer);
  const std::int32_t count = numbers_.experts(use.layer);
  layer.expected *= kKept;
  layer.came = layer.came * kKept + static_cast<double>(use.experts.size());
  for (std::int32_t e = 0; e < count; ++e) layer.expected += plain_chance({use.layer, ExpertId{e}}, rows);
  for (std::size_t i = 0; i < use.experts.size(); ++i) {
    uses_[first + static_cast<std::size_t>(use.experts[i])] += use.rows[i];
  }
  layer.rows += rows;
  if (layer.rows <= kMostRows) return;
  layer.rows /= 2;
  for (std::int32_t e = 0; e < count; ++e) uses_[first + static_cast<std::size_t>(e)] /= 2;
}

}  // namespace foregate
