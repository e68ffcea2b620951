// Whichever of score, lru and lfu would read the fewest bytes. All three are told of every use, which is cheap; what
// each would hold is followed for a sample of layers in a share of the slots (shadow_tier.h). A policy must read 5 %
// less than the one that decides to take its place. LRU takes no part below 1.5 token cycles of slots: below one it
// hits nothing, which a few layers in few slots do not show, since fewer experts come between two uses of a layer
// there. Of the uses alone, so that a replay chooses alike.
#include <algorithm>
#include <cmath>

#include "engine/experts/eviction_policies.h"
#include "engine/experts/expert_numbers.h"
#include "engine/experts/shadow_tier.h"

namespace foregate {
namespace {

constexpr std::size_t kOneLayerIn = 8;    // is sampled,
constexpr std::size_t kLeastSampled = 2;  // but no fewer,
constexpr std::size_t kMostSampled = 4;   // and no more: what it costs stays far below a step
constexpr std::int64_t kLookEvery = 64;   // uses of each sampled layer
constexpr std::int64_t kFirstLook = 128;  // likewise: the shadows begin empty
constexpr double kMissHalfLife = 256;     // likewise
constexpr double kBetter = 0.95;          // of the bytes that the policy in charge would read
constexpr double kLruCycles = 1.5;        // token cycles of slots that LRU takes
constexpr std::size_t kScore = 0;         // in kShadowPolicies: what it begins with

class AutoPolicy final : public EvictionPolicy {
 public:
  explicit AutoPolicy(const EvictionOptions& options);
  std::string_view name() const override { return "auto"; }
  void used(const LayerUse& use) override;
  double keep_value(ExpertKey key) const override { return rivals_[now_].policy->keep_value(key); }
  double reuse_chance(ExpertKey key) const override { return rivals_[kScore].policy->reuse_chance(key); }
  UseCounters counters() const override { return rivals_[kScore].policy->counters(); }
  void set_slots(std::size_t slots) override;
  PolicyFigures figures() const override;

 private:
  struct Rival {
    std::unique_ptr<EvictionPolicy> policy;
    ShadowTier tier;
    bool takes_part = true;
    double missed = 0;  // bytes, decayed
  };
  void sample(const EvictionOptions& options);
  void choose();

  ExpertNumbers numbers_;
  std::vector<std::uint64_t> sampled_;  // by layer: bytes of an expert, 0 for one that is not sampled
  std::int64_t layers_ = 0;             // sampled
  std::size_t slots_ = 0;               // of a shadow
  bool lru_ = true;                     // takes part
  std::size_t top_k_;
  std::size_t cycle_ = 0;            // experts of a token
  std::size_t sampled_experts_ = 0;  // of the sampled layers
  std::vector<Rival> rivals_;        // as kShadowPolicies has them
  std::int64_t uses_ = 0;            // of sampled layers
  std::size_t now_ = kScore;
  PolicyFigures figures_;
};

AutoPolicy::AutoPolicy(const EvictionOptions& options)
    : numbers_(options.experts), sampled_(options.experts.size()), top_k_(static_cast<std::size_t>(options.top_k)) {
  sample(options);
  using Maker = std::unique_ptr<EvictionPolicy> (*)(const EvictionOptions& options);
  constexpr Maker kMakers[] = {make_score_policy, make_lru_policy, make_lfu_policy};
  for (const Maker make : kMakers)
    rivals_.push_back({make(options), ShadowTier(numbers_, slots_), make != make_lru_policy || lru_});
}

// Evenly spread, with their share of the slots that the running layer leaves.
void AutoPolicy::sample(const EvictionOptions& options) {
  std::vector<std::size_t> sparse;
  for (std::size_t i = 0; i < options.experts.size(); ++i) {
    if (options.experts[i] > 0) sparse.push_back(i);
  }
  if (options.slots <= top_k_ || options.slots >= numbers_.size()) return;  // nothing to choose
  cycle_ = top_k_ * sparse.size();
  lru_ = static_cast<double>(options.slots) >= kLruCycles * static_cast<double>(cycle_);
  const std::size_t count =
      std::min(std::clamp(sparse.size() / kOneLayerIn, kLeastSampled, kMostSampled), sparse.size());
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t layer = sparse[(2 * i + 1) * sparse.size() / (2 * count)];
    sampled_[layer] = options.expert_bytes.empty() ? 1 : options.expert_bytes[layer];
    sampled_experts_ += static_cast<std::size_t>(options.experts[layer]);
  }
  layers_ = static_cast<std::int64_t>(count);
  slots_ = std::max<std::size_t>(1, (options.slots - top_k_) * sampled_experts_ / numbers_.size());
}

void AutoPolicy::set_slots(std::size_t slots) {
  if (layers_ == 0) return;
  const std::size_t before = slots_;
  slots_ = std::max<std::size_t>(1, (slots - std::min(slots, top_k_)) * sampled_experts_ / numbers_.size());
  if (slots_ == before) return;
  lru_ = static_cast<double>(slots) >= kLruCycles * static_cast<double>(cycle_);
  for (std::size_t i = 0; i < rivals_.size(); ++i) {
    rivals_[i].tier.set_slots(slots_);
    if (kShadowPolicies[i] == "lru") rivals_[i].takes_part = lru_;
  }
  if (!rivals_[now_].takes_part) now_ = kScore;
}

void AutoPolicy::used(const LayerUse& use) {
  for (Rival& rival : rivals_) rival.policy->used(use);
  const std::uint64_t bytes = sampled_[static_cast<std::size_t>(use.layer.value)];
  if (bytes == 0) return;
  figures_.shadow_uses += use.experts.size();
  for (Rival& rival : rivals_) {
    if (!rival.takes_part) continue;
    rival.missed += static_cast<double>(rival.tier.use(use, numbers_, *rival.policy) * bytes);
  }
  if (++uses_ % (kLookEvery * layers_) == 0) choose();
}

void AutoPolicy::choose() {
  const auto less = [](const Rival& a, const Rival& b) {
    return a.takes_part != b.takes_part ? a.takes_part : a.missed < b.missed;
  };
  const auto best = static_cast<std::size_t>(std::min_element(rivals_.begin(), rivals_.end(), less) - rivals_.begin());
  const bool better = rivals_[best].missed < kBetter * rivals_[now_].missed;
  if (uses_ >= kFirstLook * layers_ && better) {
    now_ = best;
    ++figures_.switches;
  }
  const double left = std::exp2(-kLookEvery / kMissHalfLife);
  for (Rival& rival : rivals_) rival.missed *= left;
}

PolicyFigures AutoPolicy::figures() const {
  PolicyFigures figures = figures_;
  figures.now = kShadowPolicies[now_];
  for (std::size_t i = 0; i < rivals_.size(); ++i) figures.shadow_hits[i] = rivals_[i].tier.hits();
  return figures;
}

}  // namespace

std::unique_ptr<EvictionPolicy> make_auto_policy(const EvictionOptions& options) {
  return std::make_unique<AutoPolicy>(options);
}

}  // namespace foregate
