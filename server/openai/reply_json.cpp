#include "server/openai/reply_json.h"

#include <nlohmann/json.hpp>

#include "engine/base/checksum.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

std::string digits(std::uint64_t value, const char* alphabet, unsigned base, std::size_t count) {
  std::string text(count, alphabet[0]);
  for (std::size_t i = 0; i < count; ++i, value /= base) text[i] = alphabet[value % base];
  return text;
}

void append_text(Json& object, const char* member, const std::string& text) {
  if (!object.contains(member)) object[member] = "";
  object[member].get_ref<std::string&>() += text;
}

void put_reasoning(Json& object, const std::string& text) {
  append_text(object, "reasoning_content", text);
  append_text(object, "reasoning", text);
}

}  // namespace

std::string call_id(ToolFormat format, const std::string& response_id, std::size_t choice, std::size_t number,
                    const std::string& name) {
  static constexpr char kHex[] = "0123456789abcdef";
  static constexpr char kLetters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const std::uint64_t mixed = checksum(response_id + "/" + std::to_string(choice) + "/" + std::to_string(number));
  if (format == ToolFormat::kMistral) return digits(mixed, kLetters, 62, 9);
  if (format == ToolFormat::kKimi) return "functions." + name + ":" + std::to_string(number);
  return "call_" + digits(mixed, kHex, 16, 16) + digits(number, kHex, 16, 8);
}

ReplyParts parts_of(const std::vector<ReplyPiece>& pieces) {
  ReplyParts parts;
  for (const ReplyPiece& piece : pieces) {
    switch (piece.kind) {
      case ReplyPiece::Kind::kReasoning: parts.reasoning += piece.text; break;
      case ReplyPiece::Kind::kContent: parts.content += piece.text; break;
      case ReplyPiece::Kind::kCall: parts.calls.push_back({piece.text, {}}); break;
      case ReplyPiece::Kind::kArguments:
        if (!parts.calls.empty()) parts.calls.back().arguments += piece.text;
        break;
    }
  }
  return parts;
}

void put_reply(const ReplyParts& parts, ToolFormat format, const std::string& response_id, std::size_t choice,
               Json& message) {
  if (parts.content.empty() && !parts.calls.empty()) {
    message["content"] = nullptr;
  } else {
    message["content"] = parts.content;
  }
  message["refusal"] = nullptr;
  if (!parts.reasoning.empty()) put_reasoning(message, parts.reasoning);
  for (std::size_t i = 0; i < parts.calls.size(); ++i) {
    const CallOfReply& call = parts.calls[i];
    Json one = Json::object();
    one["id"] = call_id(format, response_id, choice, i, call.name);
    one["type"] = "function";
    one["function"] = {{"name", call.name}, {"arguments", call.arguments}};
    message["tool_calls"].push_back(std::move(one));
  }
}

void put_delta(const std::vector<ReplyPiece>& pieces, ToolFormat format, const std::string& response_id,
               std::size_t choice, std::size_t& calls, Json& delta) {
  bool begun = false;  // the last entry is of the call that arguments belong to
  for (const ReplyPiece& piece : pieces) {
    if (piece.kind == ReplyPiece::Kind::kReasoning) put_reasoning(delta, piece.text);
    if (piece.kind == ReplyPiece::Kind::kContent) append_text(delta, "content", piece.text);
    if (piece.kind == ReplyPiece::Kind::kCall) {
      Json one = Json::object();
      one["index"] = calls;
      one["id"] = call_id(format, response_id, choice, calls, piece.text);
      one["type"] = "function";
      one["function"] = {{"name", piece.text}, {"arguments", ""}};
      delta["tool_calls"].push_back(std::move(one));
      begun = true;
      ++calls;
    }
    if (piece.kind != ReplyPiece::Kind::kArguments || calls == 0) continue;
    if (!begun) delta["tool_calls"].push_back({{"index", calls - 1}, {"function", {{"arguments", ""}}}});
    begun = true;
    append_text(delta["tool_calls"].back()["function"], "arguments", piece.text);
  }
}

}  // namespace foregate
