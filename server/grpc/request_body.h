// Messages of the wire as the bodies of the HTTP API, so that one set of checks reads both. Inner part of server/grpc.
#pragma once

#include <foregate/v1/inference.pb.h>

#include "server/openai/api_request.h"

namespace foregate {

// On a worker: renders, tokenizes and checks. The Status names the field as the HTTP API does.
Result<ApiRequest> read_generate(const v1::GenerateRequest& message, const ApiContext& context);
Result<std::vector<Token>> read_tokenize_request(const v1::TokenizeRequest& message, const ApiContext& context);

}  // namespace foregate
