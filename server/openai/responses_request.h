// Requests of /v1/responses, put into the shape of a chat and checked as one. Pure; a worker's work.
#pragma once

#include <string>
#include <string_view>

#include "server/openai/api_request.h"

namespace foregate {

// What a response repeats of its request, as members of a JSON object.
struct ResponsesEcho {
  std::string json;
};

// Nothing is stored: what refers to earlier responses is refused by name.
Result<ApiRequest> parse_responses_request(std::string_view body, const ApiContext& context, ResponsesEcho& echo);

}  // namespace foregate
