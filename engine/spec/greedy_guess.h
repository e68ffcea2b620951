// The most probable tokens of a row of a draft model's logits, and how probable they are.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/api/types.h"

namespace foregate {

struct GuessedToken {
  Token token = -1;  // -1: none to draft
  float probability = 0.0F;
};

class GreedyGuess {
 public:
  // None when the logits are not finite, or the token is not below `vocab_size`.
  GuessedToken operator()(std::span<const float> logits, std::int32_t vocab_size);
  // The `most` best of them, the best first, the lesser id of equals; fewer where others are far less probable.
  std::span<const GuessedToken> best(std::span<const float> logits, std::int32_t vocab_size, std::size_t most);

 private:
  float near_best(std::span<const float> logits, std::size_t best);

  std::vector<float> maxima_;       // of the row, by block
  std::vector<std::int32_t> near_;  // tokens that are not much less probable than the best
  std::vector<GuessedToken> found_;
};

}  // namespace foregate
