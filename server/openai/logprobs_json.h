// Log-probabilities in the two shapes of the OpenAI API. Inner part of server/openai.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "engine/api/types.h"
#include "engine/text/tokenizer.h"

namespace foregate {

// {"content": [{token, logprob, bytes, top_logprobs}]}
nlohmann::ordered_json chat_logprobs(const std::vector<PositionLogprobs>& positions, const Tokenizer& tokenizer);

// {"text_offset", "token_logprobs", "tokens", "top_logprobs"}; offsets count characters from
// *text_offset, which moves on. The first token of a prompt has no logprobs: `first_unknown` makes it null.
nlohmann::ordered_json completion_logprobs(const std::vector<Token>& tokens,
                                           const std::vector<PositionLogprobs>& positions, bool first_unknown,
                                           const Tokenizer& tokenizer, std::int64_t* text_offset);

}  // namespace foregate
