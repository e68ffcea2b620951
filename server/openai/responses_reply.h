// Responses of /v1/responses, whole and as events. Loop thread only.
#pragma once

#include <memory>
#include <string>

#include "server/openai/block_writer.h"
#include "server/openai/responses_request.h"

namespace foregate {

std::unique_ptr<BlockWriter> responses_writer(std::string id, std::string model, std::int64_t created,
                                              ToolFormat format, const ResponsesEcho& echo);

}  // namespace foregate
