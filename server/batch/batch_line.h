// Lines of OpenAI's batch format: {"custom_id", "method", "url", "body"} in, {"id", "custom_id", "response", "error"}
// out. Pure. What a line gives depends on the line alone: no time, no order and no random id is in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace foregate {

struct BatchLine {
  std::string custom_id;
  std::string url;
  std::string body;       // JSON text
  std::string beginning;  // of its prompt, kBeginning bytes at most: lines that share it share a prefix
};

inline constexpr std::size_t kBeginning = 4096;

// kInvalidArgument names the member. A body without a seed gets one from `seed` and the custom_id. Of a line with a
// fault after its custom_id, `custom_id` is set all the same.
Result<BatchLine> parse_batch_line(std::string_view text, std::uint64_t seed, std::string* custom_id);

// `position` of a line is its number among all input lines, from 1.
std::string batch_answer(std::uint64_t position, const std::string& custom_id, int http_status, std::string_view body,
                         std::int64_t created);
// A line that was never asked; an empty custom_id becomes null.
std::string batch_fault(std::uint64_t position, const std::string& custom_id, const Status& status);

// What an output line is known by: its custom_id, or its id where that is null. kDataLoss when it is no such line.
Result<std::string> batch_key(std::string_view output_line);
std::string batch_key(std::uint64_t position, const std::string& custom_id);

}  // namespace foregate
