#include "engine/spec/greedy_guess.h"

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
  if (best >= static_cast<std::size_t>(vocab_size)) return {};
  at_least(logits, maxima_, logits[best] - kFarBelow, near_);
  float sum = 0.0F;
  for (const std::int32_t id : near_) sum += std::exp(logits[static_cast<std::size_t>(id)] - logits[best]);
  return {static_cast<Token>(best), 1.0F / sum};
}

}  // namespace foregate
