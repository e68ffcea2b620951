#include "engine/experts/trace_summary.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace foregate {
namespace {

constexpr std::int32_t kMaxPaired = 1024;  // experts of a layer; with more, layers are not compared

double share(std::uint64_t part, std::uint64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

// The places of the `count` largest scores; equals by place.
std::vector<std::int32_t> largest(const std::vector<double>& scores, std::size_t count) {
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(std::min(count, order.size()));
  std::partial_sort(order.begin(), middle, order.end(), [&scores](std::int32_t a, std::int32_t b) {
    const double x = scores[static_cast<std::size_t>(a)];
    const double y = scores[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  });
  order.erase(middle, order.end());
  return order;
}

std::uint64_t common(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return static_cast<std::uint64_t>(
      std::count_if(a.begin(), a.end(), [b](std::int32_t id) { return std::find(b.begin(), b.end(), id) != b.end(); }));
}

void add_skew(std::vector<std::uint64_t> uses, LayerSummary& out) {
  std::sort(uses.begin(), uses.end(), std::greater<>());
  out.used = static_cast<std::int32_t>(std::count_if(uses.begin(), uses.end(), [](std::uint64_t n) { return n > 0; }));
  out.assignments = std::accumulate(uses.begin(), uses.end(), std::uint64_t{0});
  const auto quarter = uses.begin() + static_cast<std::ptrdiff_t>((uses.size() + 3) / 4);
  out.top_quarter = share(std::accumulate(uses.begin(), quarter, std::uint64_t{0}), out.assignments);
  double entropy = 0.0;
  for (const std::uint64_t n : uses) {
    const double p = share(n, out.assignments);
    if (p > 0) entropy -= p * std::log2(p);
  }
  out.effective = out.assignments > 0 ? std::exp2(entropy) : 0.0;
}

}  // namespace

TraceSummarizer::TraceSummarizer(const TraceInfo& info)
    : info_(info), top_k_(static_cast<std::size_t>(info.top_k)), layers_(info.experts.size()) {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    layers_[i].uses.assign(static_cast<std::size_t>(info_.experts[i]), 0);
  }
}

void TraceSummarizer::add(const TraceStep& step) {
  const bool decode = step.phase == UsePhase::kDecode;
  ++sums_.steps;
  sums_.decode_steps += decode ? 1 : 0;
  sums_.rows += step.requests.size();
  sums_.decode_rows += decode ? step.requests.size() : 0;
  requests_.insert(step.requests.begin(), step.requests.end());
  for (std::size_t i = 0; decode && i + 1 < step.layers.size(); ++i) follow(step, step.layers[i], step.layers[i + 1]);
  for (const TraceLayer& layer : step.layers) add_layer(step, layer);  // after the guesses, which must not know them
}

void TraceSummarizer::add_layer(const TraceStep& step, const TraceLayer& layer) {
  Layer& into = layers_[static_cast<std::size_t>(layer.layer.value)];
  ++into.steps;
  sums_.streamed_layers += layer.streamed ? 1 : 0;
  find_distinct(layer.ids, distinct_);
  if (step.phase == UsePhase::kDecode) {
    ++into.decode_steps;
    into.distinct += distinct_.experts.size();
  }
  for (const std::int32_t expert : distinct_.experts) {
    const auto at = std::find(layer.ids.begin(), layer.ids.end(), expert) - layer.ids.begin();
    ++(layer.resident[static_cast<std::size_t>(at)] != 0 ? sums_.hits : sums_.misses);
  }
  add_rows(into, step, layer);
}

void TraceSummarizer::add_rows(Layer& into, const TraceStep& step, const TraceLayer& layer) {
  for (std::size_t row = 0; row < step.requests.size(); ++row) {
    if (!step.counts(row)) continue;
    const auto ids = std::span(layer.ids).subspan(row * top_k_, top_k_);
    for (const std::int32_t id : ids) ++into.uses[static_cast<std::size_t>(id)];
    std::vector<std::int32_t>& last = into.last[step.requests[row]];
    if (step.phase == UsePhase::kDecode && !last.empty()) {
      into.compared += top_k_;
      into.repeated += common(ids, last);
    }
    last.assign(ids.begin(), ids.end());
  }
}

// Guesses each row's experts of the next layer from what earlier rows did, then learns from the row.
void TraceSummarizer::follow(const TraceStep& step, const TraceLayer& layer, const TraceLayer& next) {
  Layer& here = layers_[static_cast<std::size_t>(layer.layer.value)];
  const Layer& there = layers_[static_cast<std::size_t>(next.layer.value)];
  const std::size_t width = there.uses.size();
  if (here.uses.size() > kMaxPaired || width > kMaxPaired) return;
  here.pairs.resize(here.uses.size() * width, 0);
  const std::vector<double> popular(there.uses.begin(), there.uses.end());
  const auto most_used = largest(popular, top_k_);
  for (std::size_t row = 0; row < step.requests.size(); ++row) {
    if (!step.counts(row)) continue;
    const auto ids = std::span(layer.ids).subspan(row * top_k_, top_k_);
    const auto wanted = std::span(next.ids).subspan(row * top_k_, top_k_);
    scores_.assign(width, 0.0);
    for (const std::int32_t id : ids) {
      const auto* pairs = here.pairs.data() + static_cast<std::size_t>(id) * width;
      const double seen = 1.0 + std::accumulate(pairs, pairs + width, 0.0);
      for (std::size_t i = 0; i < width; ++i) scores_[i] += pairs[i] / seen;
    }
    here.guessed += top_k_;
    here.right += common(wanted, largest(scores_, top_k_));
    here.popular_right += common(wanted, most_used);
    for (const std::int32_t id : ids) {
      for (const std::int32_t then : wanted)
        ++here.pairs[static_cast<std::size_t>(id) * width + static_cast<std::size_t>(then)];
    }
  }
}

TraceSummary TraceSummarizer::summary() const {
  TraceSummary summary = sums_;
  summary.requests = requests_.size();
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    if (info_.experts[i] == 0) continue;
    LayerSummary& out = summary.layers.emplace_back();
    out.layer = static_cast<std::int32_t>(i);
    out.experts = info_.experts[i];
    out.steps = layer.steps;
    add_skew(layer.uses, out);
    out.distinct = share(layer.distinct, layer.decode_steps);
    out.repeated = share(layer.repeated, layer.compared);
    out.next_right = share(layer.right, layer.guessed);
    out.next_popular = share(layer.popular_right, layer.guessed);
  }
  return summary;
}

}  // namespace foregate
