// Requests of the Anthropic Messages API, put into the shape of a chat and checked as one. Pure; a worker's work.
#pragma once

#include <string>
#include <string_view>

#include "server/openai/api_request.h"

namespace foregate {

Result<ApiRequest> parse_messages_request(std::string_view body, const ApiContext& context);
// POST /v1/messages/count_tokens: {"input_tokens": n} of the same prompt.
Result<std::string> count_tokens_body(std::string_view body, const ApiContext& context);

}  // namespace foregate
