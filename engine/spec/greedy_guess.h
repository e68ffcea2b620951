// The most probable tokens of a row of a draft model's logits, and how probable they are.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/api/types.h"

namespace foregate {

struct GuessedToken {
  Token token = -1;  // -1: none to draft
  float probability = 0.0F;
};

class GreedyGuess {
 public:
  // `tokens`: of which there are logits, ascending; empty: of all.
  explicit GreedyGuess(std::vector<Token> tokens = {}) : tokens_(std::move(tokens)) {}
  // None when the logits are not finite, or the token is not below `vocab_size`.
  GuessedToken operator()(std::span<const float> logits, std::int32_t vocab_size);
  // The `most` best of them, the best first, the lesser id of equals; fewer where others are far less probable.
  std::span<const GuessedToken> best(std::span<const float> logits, std::int32_t vocab_size, std::size_t most);

 private:
  Token token(std::int32_t place) const {
    return tokens_.empty() ? Token{place} : tokens_[static_cast<std::size_t>(place)];
  }
  float near_best(std::span<const float> logits, std::size_t best);

  const std::vector<Token> tokens_;
  std::vector<float> maxima_;       // of the row, by block
  std::vector<std::int32_t> near_;  // places that are not much less probable than the best
  std::vector<GuessedToken> found_;
};

}  // namespace foregate
