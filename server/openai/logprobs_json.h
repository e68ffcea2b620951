// Log-probabilities in the shapes of the OpenAI API and of vLLM. Inner part of server/openai.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "engine/api/types.h"
#include "engine/text/tokenizer.h"

namespace foregate {

// How tokens are named.
struct TokenNames {
  const Tokenizer& tokenizer;
  bool as_ids = false;  // "token_id:N" instead of the token's text
};

// {"content": [{token, logprob, bytes, top_logprobs}]}
nlohmann::ordered_json chat_logprobs(const std::vector<PositionLogprobs>& positions, const TokenNames& names);

// {"text_offset", "token_logprobs", "tokens", "top_logprobs"} with `most` alternatives at most; offsets count
// characters from *text_offset, which moves on. The first token of a prompt has no logprobs: `first_unknown` makes it
// null.
nlohmann::ordered_json completion_logprobs(const std::vector<Token>& tokens,
                                           const std::vector<PositionLogprobs>& positions, bool first_unknown,
                                           std::int32_t most, const TokenNames& names, std::int64_t* text_offset);

// vLLM's: of each token of a prompt {"ID": {"logprob", "rank", "decoded_token"}}, its own first, then `most`
// alternatives at most; null for the first token.
nlohmann::ordered_json prompt_logprobs_json(const std::vector<PositionLogprobs>& positions, std::int32_t most,
                                            const Tokenizer& tokenizer);

}  // namespace foregate
