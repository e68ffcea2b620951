#include "engine/experts/lookahead_gate.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr double kMostSeen = 4096;   // rows that the past counts as
constexpr double kLeastSeen = 8;     // before that a layer's guesses are only watched
constexpr double kQueued = 0.1;      // of a load: what it saves at least by waiting in the queue before its layer asks
constexpr double kLeastGain = 0.03;  // of the layer's time
constexpr double kDoubt = 4;         // rows of a coin's chance that it starts from
constexpr double kAbsentDoubt = 8;   // guesses as likely as all that those not in memory start from
constexpr const char* kModeNames[] = {"off", "shadow", "auto", "always"};

}  // namespace

std::optional<LookaheadMode> lookahead_mode_named(std::string_view word) {
  for (std::size_t i = 0; i < std::size(kModeNames); ++i) {
    if (word == kModeNames[i]) return static_cast<LookaheadMode>(i);
  }
  return std::nullopt;
}

const char* lookahead_mode_name(LookaheadMode mode) {
  return kModeNames[static_cast<std::size_t>(mode)];
}

LinkTimes LinkTimes::behind_a_guess() const {
  LinkTimes left = *this;
  left.idle = std::max(0.0, idle - load);
  left.queued = true;
  return left;
}

LookaheadGate::LookaheadGate(std::vector<std::int32_t> experts, std::int32_t top_k)
    : experts_(std::move(experts)), top_k_(top_k), layers_(experts_.size()) {
  for (Layer& layer : layers_) {
    for (auto* counts : {&layer.right, &layer.absent_right, &layer.absent_guessed}) {
      counts->assign(static_cast<std::size_t>(top_k), 0.0);
    }
  }
  miss_.resize(static_cast<std::size_t>(*std::max_element(experts_.begin(), experts_.end())), 1.0);
}

double LookaheadGate::chance(LayerId id, std::int32_t rank) const {
  const Layer& layer = layers_[static_cast<std::size_t>(id.value)];
  const auto at = static_cast<std::size_t>(rank);
  const double of_all = (layer.right[at] + kDoubt / 2) / (layer.seen + kDoubt);
  return (layer.absent_right[at] + kAbsentDoubt * of_all) / (layer.absent_guessed[at] + kAbsentDoubt);
}

void LookaheadGate::guess(LayerId layer, std::span<const std::int32_t> ids, std::vector<Guess>& out) const {
  out.clear();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto expert = static_cast<std::size_t>(ids[i]);
    CHECK(expert < miss_.size());
    if (miss_[expert] == 1.0) out.push_back({ids[i], 0.0});
    miss_[expert] *= 1.0 - chance(layer, static_cast<std::int32_t>(i) % top_k_);
  }
  for (Guess& guess : out) guess.probability = 1.0 - std::exchange(miss_[static_cast<std::size_t>(guess.expert)], 1.0);
  std::stable_sort(out.begin(), out.end(),
                   [](const Guess& a, const Guess& b) { return a.probability > b.probability; });
}

void LookaheadGate::observe(LayerId id, std::span<const std::int32_t> guessed, std::span<const std::int32_t> routed,
                            std::span<const std::uint8_t> held) {
  CHECK(guessed.size() == routed.size() && (held.empty() || held.size() == guessed.size()));
  Layer& layer = layers_[static_cast<std::size_t>(id.value)];
  const auto k = static_cast<std::size_t>(top_k_);
  for (std::size_t row = 0; row < routed.size(); row += k) {
    const auto wanted = routed.subspan(row, k);
    for (std::size_t rank = 0; rank < k; ++rank) {
      const bool right = std::find(wanted.begin(), wanted.end(), guessed[row + rank]) != wanted.end();
      layer.right[rank] += right ? 1 : 0;
      if (!held.empty() && held[row + rank] == 0) {
        layer.absent_right[rank] += right ? 1 : 0;
        layer.absent_guessed[rank] += 1;
      }
      layer.stats.right += right ? 1 : 0;
      ++layer.stats.guesses;
    }
    if (++layer.seen < kMostSeen) continue;
    layer.seen /= 2;
    for (auto* counts : {&layer.right, &layer.absent_right, &layer.absent_guessed}) {
      for (double& count : *counts) count /= 2;
    }
  }
}

std::uint64_t LookaheadGate::count_right(std::span<const std::int32_t> guessed, std::span<const std::int32_t> routed,
                                         std::int32_t top_k) {
  std::uint64_t right = 0;
  for (std::size_t i = 0; i < guessed.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(top_k) * static_cast<std::size_t>(top_k);
    const auto wanted = routed.subspan(row, static_cast<std::size_t>(top_k));
    right += std::find(wanted.begin(), wanted.end(), guessed[i]) != wanted.end();
  }
  return right;
}

std::optional<double> LookaheadGate::gain(double probability, const LinkTimes& times, double victim_value) {
  const double gap = times.queued ? 0.0 : std::max(times.start, kQueued * times.load);
  const double saved = std::min(times.load, std::max(times.idle, gap));
  const double delay = std::max(0.0, times.load - times.idle);
  if (victim_value >= probability) return std::nullopt;
  const double gain = probability * saved - (1 - probability) * (delay + victim_value * times.load);
  return gain > 0 ? std::optional(gain) : std::nullopt;
}

bool LookaheadGate::worth(LayerId layer, double gain_seconds, const LinkTimes& times) const {
  return layers_[static_cast<std::size_t>(layer.value)].seen >= kLeastSeen && gain_seconds >= kLeastGain * times.layer;
}

}  // namespace foregate
