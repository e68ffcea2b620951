#include "engine/model/token_routes.h"

#include <algorithm>

namespace foregate {

TokenRoutes::TokenRoutes(const ModelConfig& config, const std::vector<std::int32_t>& experts, std::int32_t layers)
    : top_k_(static_cast<std::size_t>(config.router.top_k)), gate_(experts, config.router.top_k) {
  if (config.router.experts >= kUnknown) return;
  for (std::size_t i = 0; i < experts.size() && layers_.size() < static_cast<std::size_t>(layers); ++i) {
    if (experts[i] == 0) continue;
    layers_.push_back({LayerId{static_cast<std::int32_t>(i)}, {}});
    layers_.back().experts.assign(static_cast<std::size_t>(config.vocab_size) * top_k_, kUnknown);
  }
}

std::span<std::uint16_t> TokenRoutes::of(Layer& layer, Token token) {
  return std::span(layer.experts).subspan(static_cast<std::size_t>(token) * top_k_, top_k_);
}

void TokenRoutes::learn(const Step& step, LayerId id, std::int64_t judged) {
  const auto layer = std::ranges::find(layers_, id, &Layer::id);
  if (layer == layers_.end()) return;
  known_.clear();
  routed_.clear();
  for (std::size_t row = 0; row < step.input.tokens.size(); ++row) {
    const std::span<std::uint16_t> known = of(*layer, step.input.tokens[row]);
    const std::int32_t* ids = step.scratch.route.host_ids + row * top_k_;
    if (static_cast<std::int64_t>(row) < judged && known[0] != kUnknown) {
      known_.insert(known_.end(), known.begin(), known.end());
      routed_.insert(routed_.end(), ids, ids + top_k_);
    }
    for (std::size_t i = 0; i < top_k_; ++i) known[i] = static_cast<std::uint16_t>(ids[i]);
  }
  if (!known_.empty()) gate_.observe(id, known_, routed_);
}

void TokenRoutes::foresee(std::span<const Token> tokens, LookaheadMode mode, ExpertStore& store, DeviceTier* tier) {
  if (tokens.size() > kMostTokens) return;
  for (Layer& layer : layers_) {
    known_.clear();
    for (const Token token : tokens) {
      const std::span<std::uint16_t> known = of(layer, token);
      if (known[0] != kUnknown) known_.insert(known_.end(), known.begin(), known.end());
    }
    if (known_.empty()) continue;
    if (tier != nullptr) {
      const auto cannot = [&](ExpertKey key) { return tier->on_host(key.layer) || !store.resident(key); };
      issue_guesses(mode, gate_, layer.id, known_, *tier, issued_, cannot,
                    [](DeviceTier& to, std::span<const ExpertKey> keys) { to.prefetch(keys); });
    }
    const auto there = [tier](ExpertKey key) { return tier != nullptr && tier->held(key); };
    issue_guesses(mode, gate_, layer.id, known_, store, issued_, there,
                  [](ExpertStore& to, std::span<const ExpertKey> keys) { to.prefetch(keys, HintKind::kToken); });
  }
}

GateStats TokenRoutes::stats() const {
  GateStats sum;
  for (const Layer& layer : layers_) {
    sum.guesses += gate_.stats(layer.id).guesses;
    sum.right += gate_.stats(layer.id).right;
  }
  return sum;
}

std::size_t TokenRoutes::bytes() const {
  std::size_t bytes = 0;
  for (const Layer& layer : layers_) bytes += layer.experts.size() * sizeof(std::uint16_t);
  return bytes;
}

}  // namespace foregate
