// Changes to a row of logits before sampling: masks, biases and penalties, in the order vLLM applies
// them. Pure functions of their arguments, but for the scratch counts; engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/api/types.h"

namespace foregate {

// Counts per token id, all zero between calls. One per thread that samples.
class TokenCounts {
 public:
  explicit TokenCounts(std::int32_t vocab_size) : counts_(static_cast<std::size_t>(vocab_size), 0) {}
  std::vector<std::int32_t>& counts() { return counts_; }

 private:
  std::vector<std::int32_t> counts_;
};

// Sets the logits of `ids` to minus infinity.
void mask_tokens(std::span<float> logits, std::span<const Token> ids);
void apply_logit_bias(std::span<float> logits, std::span<const std::pair<Token, float>> bias);
// Every token of the prompt or the output once: positive logits are divided by `penalty`, others
// multiplied (CTRL, arXiv 1909.05858).
void apply_repetition_penalty(std::span<float> logits, std::span<const Token> prompt, std::span<const Token> output,
                              float penalty, TokenCounts& scratch);
// OpenAI's: logit -= count * frequency + (count > 0) * presence, counted over the output.
void apply_count_penalties(std::span<float> logits, std::span<const Token> output, float presence, float frequency,
                           TokenCounts& scratch);

}  // namespace foregate
