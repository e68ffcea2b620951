#include "server/anthropic/messages_reply.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/api_error.h"
#include "server/openai/fields.h"
#include "server/openai/reply_json.h"

namespace foregate {
namespace {

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const char* error_type(int http_status) {
  switch (http_status) {
    case 400: return "invalid_request_error";
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    case 504: return "timeout_error";
    default: return "api_error";
  }
}

// Tokens that were computed apart from those that were found.
Json usage_json(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_tokens},
          {"output_tokens", usage.completion_tokens}};
}

class MessagesWriter final : public BlockWriter {
 public:
  MessagesWriter(std::string id, std::string model, ToolFormat format)
      : id_(std::move(id)), model_(std::move(model)), format_(format) {}

  std::string id() const override { return id_; }

  std::vector<NamedEvent> begin(const Usage& usage) override {
    Events events;
    put("message_start", {{"message", message(usage)}}, events);
    return events;
  }
  NamedEvent failure(const Status& status) override { return {"error", messages_error(status)}; }
  std::string error_body(const Status& status) const override { return messages_error(status); }

  std::string body(const SampleEnd& end, const Usage& usage) override {
    Json whole = message(usage);
    for (const Block& block : blocks()) whole["content"].push_back(written(block));
    whole.update(reason(end));
    return dump(whole);
  }

 private:
  static void put(const char* type, Json members, Events& events) {
    Json event = {{"type", type}};
    event.update(members);
    events.push_back({type, dump(event)});
  }

  Json message(const Usage& usage) const {
    Json message = {{"id", id_}, {"type", "message"}, {"role", "assistant"}, {"model", model_}};
    message["content"] = Json::array();
    message["stop_reason"] = nullptr;
    message["stop_sequence"] = nullptr;
    message["usage"] = usage_json(usage);
    return message;
  }

  Json reason(const SampleEnd& end) const {
    Json json = Json::object();
    json["stop_reason"] = end.reason == FinishReason::kLength ? "max_tokens"
                          : end.stop_string                   ? "stop_sequence"
                          : called()                          ? "tool_use"
                                                              : "end_turn";
    json["stop_sequence"] = nullptr;
    if (end.stop_string) json["stop_sequence"] = *end.stop_string;
    return json;
  }

  // A block without its text.
  Json begun(const Block& block) const {
    if (block.kind == ReplyPiece::Kind::kReasoning) {
      return {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}};
    }
    if (block.kind == ReplyPiece::Kind::kContent) return {{"type", "text"}, {"text", ""}};
    Json call = {
        {"type", "tool_use"}, {"id", call_id(format_, id_, 0, block.number, block.name)}, {"name", block.name}};
    call["input"] = Json::object();
    return call;
  }

  // Arguments that are no object, as a reply that was cut leaves them, are shown as their text.
  Json written(const Block& block) const {
    Json json = begun(block);
    if (block.kind == ReplyPiece::Kind::kReasoning) json["thinking"] = block.text;
    if (block.kind == ReplyPiece::Kind::kContent) json["text"] = block.text;
    if (block.kind != ReplyPiece::Kind::kCall) return json;
    auto input = parse_object(block.text);
    if (input.ok()) {
      json["input"] = std::move(input).value();
    } else {
      json["input"]["_text"] = block.text;
    }
    return json;
  }

  void opened(const Block& block, std::size_t index, Events& events) override {
    put("content_block_start", {{"index", index}, {"content_block", begun(block)}}, events);
  }
  void grew(const Block& block, std::size_t index, const std::string& text, Events& events) override {
    Json delta = Json::object();
    const bool reasoning = block.kind == ReplyPiece::Kind::kReasoning;
    const bool call = block.kind == ReplyPiece::Kind::kCall;
    delta["type"] = call ? "input_json_delta" : reasoning ? "thinking_delta" : "text_delta";
    delta[call ? "partial_json" : reasoning ? "thinking" : "text"] = text;
    put("content_block_delta", {{"index", index}, {"delta", std::move(delta)}}, events);
  }
  void closed(const Block&, std::size_t index, Events& events) override {
    Json members = Json::object();
    members["index"] = index;
    put("content_block_stop", std::move(members), events);
  }
  void ended(const SampleEnd& end, const Usage& usage, Events& events) override {
    put("message_delta", {{"delta", reason(end)}, {"usage", usage_json(usage)}}, events);
    put("message_stop", Json::object(), events);
  }

  const std::string id_;
  const std::string model_;
  const ToolFormat format_;
};

}  // namespace

std::unique_ptr<BlockWriter> messages_writer(std::string id, std::string model, ToolFormat format) {
  return std::make_unique<MessagesWriter>(std::move(id), std::move(model), format);
}

std::string messages_error(const Status& status) {
  const ApiError error = api_error(status);
  const Json said = Json::parse(error.body)["error"];
  Json json = {{"type", "error"}};
  json["error"] = {{"type", error_type(error.status)}, {"message", said["message"]}};
  return dump(json);
}

}  // namespace foregate
