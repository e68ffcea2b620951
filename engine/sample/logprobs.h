// Log-probabilities of one row of raw logits, before any penalty (what OpenAI and vLLM report).
// Sums are taken in double precision in order of token id, so a row always gives the same bits.
#pragma once

#include <cstdint>
#include <span>

#include "engine/api/types.h"

namespace foregate {

// log(sum(exp(logits))).
double log_sum_exp(std::span<const float> logits);

// The chosen token and the `top` likeliest, best first; ties go to the lower id.
PositionLogprobs position_logprobs(std::span<const float> logits, Token chosen, std::int32_t top);

}  // namespace foregate
