// The policy of the engine. The value of an expert is one over the time, in tokens, until its next use is expected:
//
//   time = d + 1/p - 1
//
// p: the chance that a token uses it. d: the part of a token until its layer runs again, (0, 1]: of two experts that
// every token uses, the one whose layer comes first is worth more, which protects the layers just ahead and lets go
// what the last layers used. So a tier below one token cycle, where the least recently used is always the next to be
// needed and LRU never hits, keeps a set that it does hit.
//
// p = decayed frequency + recency. The frequency forgets half in half_life_tokens of its layer. The recency is what
// experts used that many steps ago were used more often than their frequency said, measured here as it goes: nothing
// where routing has no memory, a lot where a token routes like the one before. Prompt rows count in the frequency only:
// a prompt touches everything; the rows that decode beside one count as in a step of their own.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "engine/experts/eviction_policies.h"
#include "engine/experts/expert_numbers.h"

namespace foregate {
namespace {

constexpr std::int64_t kLongAgo = std::int64_t{1} << 40;
constexpr double kLargestScale = 1e100;
constexpr double kLeastChance = 1e-6;
constexpr double kMostPromptHalfLives = 2;  // a longer prompt leaves a quarter of what was known before

// Classes of steps since an expert was last used: 0, 1, 2, 3, then doubling.
constexpr std::size_t kAges = 9;
std::size_t age_class(std::int64_t age) {
  if (age < 4) return static_cast<std::size_t>(age);
  return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(age))) + 1,
                               kAges - 1);
}

// How far the frequency is off for experts of one age, over the last few thousand looks.
class AgeError {
 public:
  void add(double error) {
    sum_ += error;
    if (++looks_ < kMostLooks) return;
    sum_ /= 2;
    looks_ /= 2;
  }
  double mean() const { return sum_ / (looks_ + kDoubt); }

 private:
  static constexpr double kMostLooks = 4096;
  static constexpr double kDoubt = 64;  // looks with no error that it starts from
  double sum_ = 0;
  double looks_ = 0;
};

class ScorePolicy final : public EvictionPolicy {
 public:
  explicit ScorePolicy(const EvictionOptions& options);
  std::string_view name() const override { return "score"; }
  void used(const LayerUse& use) override;
  double keep_value(ExpertKey key) const override;
  UseCounters counters() const override;

 private:
  struct Expert {
    double weight = 0;  // of its uses, in units of the layer's scale
    std::int64_t last = -kLongAgo;
  };
  struct Layer {
    double scale = 1;         // weight of a use now: it grows, so that older ones need no touching
    std::int64_t steps = 0;   // decode steps
    std::int32_t place = -1;  // among the layers with experts
  };

  double rate(const Layer& layer, const Expert& expert) const { return expert.weight / layer.scale * per_use_; }
  double chance(const Layer& layer, const Expert& expert) const;
  void learn_recency(const Layer& layer, LayerId id, std::span<const std::int32_t> experts);
  void decode_used(Layer& layer, LayerId id, std::span<const std::int32_t> experts);
  void prompt_used(Layer& layer, const LayerUse& use);
  void advance(Layer& layer, LayerId id, double tokens);

  ExpertNumbers numbers_;
  std::vector<Expert> experts_;
  std::vector<Layer> layers_;
  std::int32_t places_ = 0;
  std::int32_t now_ = 0;  // place of the layer that ran last
  double top_k_;
  double half_life_;
  double growth_;   // of the scale in one token
  double per_use_;  // rate of an expert that one use, just now, is known of
  std::array<AgeError, kAges> errors_;
  std::array<double, kAges> recency_{};
  std::vector<std::int32_t> decoded_;  // of a prompt's step: experts of the rows that decode beside it
};

ScorePolicy::ScorePolicy(const EvictionOptions& options)
    : numbers_(options.experts),
      experts_(numbers_.size()),
      layers_(options.experts.size()),
      top_k_(options.top_k),
      half_life_(options.half_life_tokens),
      growth_(std::exp2(1 / half_life_)),
      per_use_(1 - 1 / growth_) {
  for (std::int32_t i = 0; i < numbers_.layers(); ++i) {
    if (numbers_.experts(LayerId{i}) > 0) layers_[static_cast<std::size_t>(i)].place = places_++;
  }
  if (options.counters == nullptr || options.counters->empty()) return;
  auto expert = experts_.begin();
  for (const std::vector<float>& layer : options.counters->rates) {
    for (const float rate : layer) (expert++)->weight = static_cast<double>(rate) / per_use_;
  }
}

double ScorePolicy::chance(const Layer& layer, const Expert& expert) const {
  const double known = rate(layer, expert);
  const double p = std::max(known + recency_[age_class(layer.steps - 1 - expert.last)], known / 16);
  return std::clamp(p, kLeastChance, 1.0);
}

// Looks at every expert of the layer, so at one step in eight only.
void ScorePolicy::learn_recency(const Layer& layer, LayerId id, std::span<const std::int32_t> experts) {
  if ((layer.steps + layer.place) % 8 != 0) return;
  const std::size_t first = numbers_.first(id);
  auto next = experts.begin();
  for (std::int32_t i = 0; i < numbers_.experts(id); ++i) {
    const Expert& expert = experts_[first + static_cast<std::size_t>(i)];
    const bool hit = next != experts.end() && *next == i;
    if (hit) ++next;
    errors_[age_class(layer.steps - 1 - expert.last)].add((hit ? 1.0 : 0.0) - rate(layer, expert));
  }
  for (std::size_t i = 0; i < kAges; ++i) recency_[i] = errors_[i].mean();
}

void ScorePolicy::advance(Layer& layer, LayerId id, double tokens) {
  layer.scale *= tokens == 1 ? growth_ : std::exp2(tokens / half_life_);
  if (layer.scale < kLargestScale) return;
  const std::size_t first = numbers_.first(id);
  for (std::size_t i = first; i < first + static_cast<std::size_t>(numbers_.experts(id)); ++i) {
    experts_[i].weight /= layer.scale;
  }
  layer.scale = 1;
}

void ScorePolicy::used(const LayerUse& use) {
  Layer& layer = layers_[static_cast<std::size_t>(use.layer.value)];
  now_ = layer.place;
  if (use.phase == UsePhase::kDecode) return decode_used(layer, use.layer, use.experts);
  decoded_.clear();
  for (std::size_t i = 0; i < use.decode_rows.size(); ++i) {
    if (use.decode_rows[i] > 0) decoded_.push_back(use.experts[i]);
  }
  if (!decoded_.empty()) decode_used(layer, use.layer, decoded_);
  prompt_used(layer, use);
}

// Counts as one token whatever its width, and an expert as used or not: that is what the next step will ask.
void ScorePolicy::decode_used(Layer& layer, LayerId id, std::span<const std::int32_t> experts) {
  learn_recency(layer, id, experts);
  advance(layer, id, 1);
  for (const std::int32_t i : experts) {
    Expert& expert = experts_[numbers_.at({id, ExpertId{i}})];
    expert.weight += layer.scale;
    expert.last = layer.steps;
  }
  ++layer.steps;
}

// Counts its rows.
void ScorePolicy::prompt_used(Layer& layer, const LayerUse& use) {
  const auto prompt_rows = [&use](std::size_t i) {
    return use.rows[i] - (use.decode_rows.empty() ? 0 : use.decode_rows[i]);
  };
  double rows = 0;
  for (std::size_t i = 0; i < use.experts.size(); ++i) rows += prompt_rows(i);
  const double tokens = std::max(1.0, rows / top_k_);
  const double counted = std::min(tokens, kMostPromptHalfLives * half_life_);
  advance(layer, use.layer, counted);
  const double whole = (1 - std::exp2(-counted / half_life_)) / per_use_;  // of an expert that all of them used
  for (std::size_t i = 0; i < use.experts.size(); ++i) {
    experts_[numbers_.at({use.layer, ExpertId{use.experts[i]}})].weight +=
        layer.scale * whole * prompt_rows(i) / tokens;
  }
}

double ScorePolicy::keep_value(ExpertKey key) const {
  const Layer& layer = layers_[static_cast<std::size_t>(key.layer.value)];
  const double p = chance(layer, experts_[numbers_.at(key)]);
  const std::int32_t ahead = layer.place - now_;
  const double until = static_cast<double>(ahead > 0 ? ahead : ahead + places_) / places_;
  return p / (p * until + 1 - p);
}

UseCounters ScorePolicy::counters() const {
  UseCounters counters;
  for (std::int32_t i = 0; i < numbers_.layers(); ++i) {
    std::vector<float>& rates = counters.rates.emplace_back();
    for (std::int32_t e = 0; e < numbers_.experts(LayerId{i}); ++e) {
      rates.push_back(static_cast<float>(
          rate(layers_[static_cast<std::size_t>(i)], experts_[numbers_.at({LayerId{i}, ExpertId{e}})])));
    }
  }
  return counters;
}

}  // namespace

std::unique_ptr<EvictionPolicy> make_score_policy(const EvictionOptions& options) {
  return std::make_unique<ScorePolicy>(options);
}

}  // namespace foregate
