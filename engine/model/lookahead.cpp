#include "engine/model/lookahead.h"

#include <algorithm>

#include "engine/model/route_tap.h"

namespace foregate {
namespace {

constexpr std::int64_t kMostRows = 16;  // of a step; more rows wake nearly all experts anyway
constexpr double kShiftRows = 256;      // rows that the past of a shift counts as

std::vector<std::int32_t> expert_counts(const ModelConfig& config) {
  std::vector<std::int32_t> counts;
  for (const LayerConfig& layer : config.layers) counts.push_back(layer.sparse ? config.router.experts : 0);
  return counts;
}

// Rows that are guessed for, or 0.
std::int64_t guessed_rows(const Step& step) {
  const std::int64_t rows = decoding_rows(step);
  return rows <= kMostRows ? rows : 0;
}

}  // namespace

Lookahead::Lookahead(const ModelConfig& config, const LookaheadOptions& options)
    : options_(options),
      gate_(expert_counts(config), config.router.top_k),
      ahead_(config.layers.size(), -1),
      pending_(config.layers.size()),
      shifts_(config.layers.size()),
      tokens_(config, expert_counts(config), std::max(1, options.distance)) {
  std::vector<std::int32_t> sparse;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    if (config.layers[i].sparse) sparse.push_back(static_cast<std::int32_t>(i));
  }
  const auto distance = static_cast<std::size_t>(options.distance);
  if (config.arch->router_source != RouterSource::kFfnInput) return;  // nothing is left to guess
  for (std::size_t i = 0; i + distance < sparse.size(); ++i) {
    ahead_[static_cast<std::size_t>(sparse[i])] = sparse[i + distance];
  }
}

Result<std::unique_ptr<Lookahead>> Lookahead::create(const ModelConfig& config, const LookaheadOptions& options,
                                                     Device& device) {
  if (options.distance < 0 || options.distance > 3) {
    return invalid_argument("must lie between 0 and 3", "lookahead_distance");
  }
  std::unique_ptr<Lookahead> lookahead(new Lookahead(config, options));
  lookahead->host_visible_ = device.host_visible();
  const std::int64_t sizes[] = {kMostRows * config.hidden_size, kMostRows * config.router.experts,
                                kMostRows * config.router.top_k, kMostRows * config.router.top_k,
                                kMostRows * config.hidden_size};
  std::int64_t floats = 0;
  for (const std::int64_t size : sizes) floats += (size + 15) / 16 * 16;
  lookahead->memory_ = device.allocate(static_cast<std::size_t>(floats) * sizeof(float));
  if (!lookahead->memory_) return resource_exhausted("no memory for the lookahead");
  float* at = reinterpret_cast<float*>(lookahead->memory_.data());
  const auto take = [&at](std::int64_t size) { return std::exchange(at, at + (size + 15) / 16 * 16); };
  lookahead->normed_ = take(sizes[0]);
  lookahead->logits_ = take(sizes[1]);
  lookahead->weights_ = take(sizes[2]);
  lookahead->ids_ = reinterpret_cast<std::int32_t*>(take(sizes[3]));
  lookahead->moved_ = take(sizes[4]);
  return lookahead;
}

std::span<const std::int32_t> Lookahead::run_router(const Step& step, std::int64_t rows, const LayerWeights& target,
                                                    std::span<const float> shift) {
  const std::int64_t hidden = step.config.hidden_size;
  const View2<float> normed{normed_, rows, hidden, hidden};
  const View2<float> moved{shift.empty() ? nullptr : moved_, rows, hidden, hidden};
  if (!shift.empty()) fill_moved(step, rows, shift);
  step.ops.rms_norm(step.stream, RmsNormArgs{.x = {step.scratch.hidden, rows, hidden, hidden},
                                             .residual = moved,
                                             .weight = target.ffn_norm,
                                             .eps = step.config.rms_norm_eps,
                                             .out = normed});
  target.router.route(step.ops, step.stream, {normed_, rows, hidden, hidden}, logits_, ids_, weights_);
  const auto assignments = static_cast<std::size_t>(rows * step.config.router.top_k);
  if (!host_visible_) {
    host_ids_.resize(assignments);
    step.stream.download(host_ids_.data(), ids_, assignments * sizeof(std::int32_t));
  }
  step.stream.synchronize();
  return {host_visible_ ? ids_ : host_ids_.data(), assignments};
}

// The shift of every row, which the norm adds to.
void Lookahead::fill_moved(const Step& step, std::int64_t rows, std::span<const float> shift) {
  const auto count = static_cast<std::size_t>(rows) * shift.size();
  if (!host_visible_) host_floats_.resize(count);
  float* const to = host_visible_ ? moved_ : host_floats_.data();
  for (std::size_t at = 0; at < count; at += shift.size()) std::copy(shift.begin(), shift.end(), to + at);
  if (!host_visible_) step.stream.upload(moved_, to, count * sizeof(float));
}

// Where the host reads it, until the next call.
std::span<const float> Lookahead::residual(const Step& step, std::int64_t rows) {
  const auto count = static_cast<std::size_t>(rows * step.config.hidden_size);
  if (host_visible_) return {step.scratch.hidden, count};
  host_floats_.resize(count);
  step.stream.download(host_floats_.data(), step.scratch.hidden, count * sizeof(float));
  step.stream.synchronize();
  return host_floats_;
}

void Lookahead::compare(const Step& step, std::int64_t rows, LayerId id) {
  const Pending& pending = pending_[static_cast<std::size_t>(id.value)];
  const std::int32_t top_k = step.config.router.top_k;
  const auto assignments = static_cast<std::size_t>(rows * top_k);
  if (pending.step != step.number || pending.ids.size() != assignments) return;
  const std::span<const std::int32_t> routed{step.scratch.route.host_ids, assignments};
  gate_.observe(id, pending.ids, routed, pending.held);
  if (pending.plain.size() == assignments) right_plain_ += LookaheadGate::count_right(pending.plain, routed, top_k);
  if (rows < step.rows) mixed_ += assignments;
  if (options_.correction && options_.distance > 0) learn_shift(step, rows, id);
}

void Lookahead::learn_shift(const Step& step, std::int64_t rows, LayerId id) {
  const Pending& pending = pending_[static_cast<std::size_t>(id.value)];
  Shift& shift = shifts_[static_cast<std::size_t>(id.value)];
  const auto hidden = static_cast<std::size_t>(step.config.hidden_size);
  shift.mean.resize(hidden);
  const std::span<const float> now = residual(step, rows);
  for (std::int64_t row = 0; row < rows; ++row) {
    shift.rows = std::min(shift.rows + 1, kShiftRows);
    const float part = static_cast<float>(1 / shift.rows);
    const float* to = now.data() + static_cast<std::size_t>(row) * hidden;
    const float* from = pending.from.data() + static_cast<std::size_t>(row) * hidden;
    for (std::size_t i = 0; i < hidden; ++i) shift.mean[i] += part * (to[i] - from[i] - shift.mean[i]);
  }
}

void Lookahead::foresee(std::span<const Token> tokens, ExpertStore& store, DeviceTier* tier) {
  tokens_.foresee(tokens, options_.mode, store, tier);
}

void Lookahead::after_routing(const Step& step, LayerId id, const std::vector<LayerWeights>& layers, ExpertStore& store,
                              DeviceTier* tier) {
  if (options_.mode == LookaheadMode::kOff) return;
  const std::int64_t rows = guessed_rows(step);
  tokens_.learn(step, id, rows);
  if (rows == 0) return;
  if (options_.distance > 0) compare(step, rows, id);
  const std::int32_t target = ahead_[static_cast<std::size_t>(id.value)];
  if (target < 0) return;
  const LayerWeights& there = layers[static_cast<std::size_t>(target)];
  Pending& pending = pending_[static_cast<std::size_t>(target)];
  const bool correct = options_.correction && options_.distance > 0;
  pending.step = step.number;
  if (correct && options_.mode == LookaheadMode::kShadow) {
    const auto plain = run_router(step, rows, there);
    pending.plain.assign(plain.begin(), plain.end());
  }
  const auto ids = run_router(step, rows, there,
                              correct ? shifts_[static_cast<std::size_t>(target)].mean : std::span<const float>());
  pending.ids.assign(ids.begin(), ids.end());
  pending.held.clear();
  for (const std::int32_t expert : ids) {
    const ExpertKey key{LayerId{target}, ExpertId{expert}};
    pending.held.push_back((tier != nullptr ? tier->held(key) : store.held(key)) ? 1 : 0);
  }
  if (options_.distance == 0) return compare(step, rows, id);
  if (correct) {
    const std::span<const float> now = residual(step, rows);
    pending.from.assign(now.begin(), now.end());
  }
  if (tier != nullptr) {
    const auto cannot = [&](ExpertKey key) { return tier->on_host(key.layer) || !store.resident(key); };
    issue_guesses(options_.mode, gate_, LayerId{target}, pending.ids, *tier, issued_, cannot,
                  [](DeviceTier& to, std::span<const ExpertKey> keys) { to.prefetch(keys); });
  }
  const auto on_tier = [tier](ExpertKey key) { return tier != nullptr && tier->held(key); };
  issue_guesses(options_.mode, gate_, LayerId{target}, pending.ids, store, issued_, on_tier,
                [](ExpertStore& to, std::span<const ExpertKey> keys) { to.prefetch(keys); });
}

void Lookahead::announce(const Step& step, LayerId target, const ExpertRoute& route, ExpertStore& store,
                         DeviceTier* tier) {
  if (options_.mode == LookaheadMode::kOff) return;
  announced_.assign(route.host_ids, route.host_ids + step.rows * step.config.router.top_k);
  std::sort(announced_.begin(), announced_.end());
  announced_.erase(std::unique(announced_.begin(), announced_.end()), announced_.end());
  if (tier != nullptr) {
    if (options_.mode != LookaheadMode::kShadow) tier->announce(target, announced_);
    std::erase_if(announced_, [&](std::int32_t expert) {
      const ExpertKey key{target, ExpertId{expert}};
      return tier->held(key) || store.resident(key);
    });
  }
  store.announce(target, announced_, options_.mode != LookaheadMode::kShadow);
}

LookaheadStats Lookahead::stats() const {
  LookaheadStats stats;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const GateStats& layer = gate_.stats(LayerId{static_cast<std::int32_t>(i)});
    stats.guesses += layer.guesses;
    stats.right += layer.right;
  }
  stats.right_plain = right_plain_;
  stats.mixed_guesses = mixed_;
  stats.token_guesses = tokens_.stats().guesses;
  stats.token_guesses_right = tokens_.stats().right;
  return stats;
}

}  // namespace foregate
