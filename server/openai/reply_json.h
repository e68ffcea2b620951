// Reasoning, content and calls in the shapes of a chat message and of a stream's delta. Inner part of server/openai.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "server/reply/piece.h"
#include "server/reply/reply_form.h"

namespace foregate {

// An id for call `number` of a choice, in the form that the model's template wants it back.
std::string call_id(ToolFormat format, const std::string& response_id, std::size_t choice, std::size_t number,
                    const std::string& name);

struct CallOfReply {
  std::string name;
  std::string arguments;  // JSON text as the model wrote it
};
// The pieces of a whole reply, by kind.
struct ReplyParts {
  std::string reasoning;
  std::string content;
  std::vector<CallOfReply> calls;
};
ReplyParts parts_of(const std::vector<ReplyPiece>& pieces);

// Members of an assistant's message.
void put_reply(const ReplyParts& parts, ToolFormat format, const std::string& response_id, std::size_t choice,
               nlohmann::ordered_json& message);

// Members of a delta. `calls` counts the calls of the choice so far and moves on.
void put_delta(const std::vector<ReplyPiece>& pieces, ToolFormat format, const std::string& response_id,
               std::size_t choice, std::size_t& calls, nlohmann::ordered_json& delta);

}  // namespace foregate
