// Rules about which token may come next that follow from the tokens before it. Pure.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/api/types.h"

namespace foregate {

// Sets all logits to minus infinity but those of `ids`.
void keep_only(std::span<float> logits, std::span<const Token> ids);

// Sets the logits of tokens that would complete one of `words` at the end of `output` to minus infinity (vLLM's
// bad_words).
void mask_bad_words(std::span<float> logits, std::span<const Token> output, std::span<const std::vector<Token>> words);

// The token of `budget.close` that must come now; none before the budget is used up and after thinking has ended.
std::optional<Token> forced_token(const ThinkingBudget& budget, std::span<const Token> output);

}  // namespace foregate
