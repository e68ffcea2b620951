#include "engine/spec/greedy_guess.h"

#include <algorithm>
#include <cmath>

#include "engine/sample/logit_row.h"

namespace foregate {
namespace {

constexpr float kFarBelow = 9.0F;  // of the best logit: what is less probable than e^-9 of it is left out

}  // namespace

GuessedToken GreedyGuess::operator()(std::span<const float> logits, std::int32_t vocab_size) {
  if (!all_finite(logits)) return {};
  block_maxima(logits, maxima_);
  const std::size_t best = first_greatest(logits, maxima_);
  const Token said = token(static_cast<std::int32_t>(best));
  if (said >= vocab_size) return {};
  return {said, 1.0F / near_best(logits, best)};
}

// The tokens that are near, and the sum of their probabilities over that of the best.
float GreedyGuess::near_best(std::span<const float> logits, std::size_t best) {
  at_least(logits, maxima_, logits[best] - kFarBelow, near_);
  float sum = 0.0F;
  for (const std::int32_t id : near_) sum += std::exp(logits[static_cast<std::size_t>(id)] - logits[best]);
  return sum;
}

std::span<const GuessedToken> GreedyGuess::best(std::span<const float> logits, std::int32_t vocab_size,
                                                std::size_t most) {
  found_.clear();
  if (!all_finite(logits)) return found_;
  block_maxima(logits, maxima_);
  const std::size_t first = first_greatest(logits, maxima_);
  const float sum = near_best(logits, first);
  std::erase_if(near_, [&](std::int32_t place) { return token(place) >= vocab_size; });
  const auto logit = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  const auto count = static_cast<std::ptrdiff_t>(std::min(most, near_.size()));
  std::partial_sort(near_.begin(), near_.begin() + count, near_.end(),
                    [&](std::int32_t a, std::int32_t b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a < b; });
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    const std::int32_t id = near_[static_cast<std::size_t>(i)];
    found_.push_back({token(id), std::exp(logit(id) - logits[first]) / sum});
  }
  return found_;
}

}  // namespace foregate
