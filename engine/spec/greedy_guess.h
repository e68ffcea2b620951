// The most probable token of a row of a draft model's logits, and how probable it is.
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

 private:
  std::vector<float> maxima_;       // of the row, by block
  std::vector<std::int32_t> near_;  // tokens that are not much less probable than the best
};

}  // namespace foregate
