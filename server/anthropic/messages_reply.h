// Messages of the Anthropic Messages API, whole and as events, and its errors. Loop thread only.
#pragma once

#include <memory>
#include <string>

#include "server/openai/block_writer.h"

namespace foregate {

std::unique_ptr<BlockWriter> messages_writer(std::string id, std::string model, ToolFormat format);
// {"type": "error", "error": {type, message}}
std::string messages_error(const Status& status);

}  // namespace foregate
