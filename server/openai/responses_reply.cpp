#include "server/openai/responses_reply.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/api_error.h"
#include "server/openai/reply_json.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class ResponsesWriter final : public BlockWriter {
 public:
  ResponsesWriter(std::string id, std::string model, std::int64_t created, ToolFormat format, const ResponsesEcho& echo)
      : id_(std::move(id)),
        model_(std::move(model)),
        created_(created),
        format_(format),
        echo_(Json::parse(echo.json)) {}

  std::string id() const override { return id_; }

  std::vector<NamedEvent> begin(const Usage&) override {
    Events events;
    for (const char* name : {"response.created", "response.in_progress"}) {
      put(name, {{"response", response("in_progress", nullptr)}}, events);
    }
    return events;
  }

  NamedEvent failure(const Status& status) override {
    const Json said = Json::parse(error_body(status))["error"];
    Json whole = response("failed", nullptr);
    whole["error"] = {{"code", "server_error"}, {"message", said["message"]}};
    Events events;
    put("response.failed", {{"response", std::move(whole)}}, events);
    return events[0];
  }

  std::string body(const SampleEnd& end, const Usage& usage) override { return dump(ended_response(end, usage)); }
  std::string error_body(const Status& status) const override { return api_error(status).body; }

 private:
  void put(const char* type, Json members, Events& events) {
    Json event = Json::object();
    event["type"] = type;
    event["sequence_number"] = sequence_++;
    event.update(members);
    events.push_back({type, dump(event)});
  }

  std::string item_id(const Block& block, std::size_t index) const {
    const char* prefix = block.kind == ReplyPiece::Kind::kCall        ? "fc_"
                         : block.kind == ReplyPiece::Kind::kReasoning ? "rs_"
                                                                      : "msg_";
    return prefix + id_.substr(id_.find('_') + 1) + "_" + std::to_string(index);
  }

  static Json part(const Block& block, const std::string& text) {
    if (block.kind == ReplyPiece::Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", text}};
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
  }

  // An item of the output; without its text while it is written.
  Json item(const Block& block, std::size_t index, const char* status) const {
    const bool done = std::string_view(status) != "in_progress";
    Json one = Json::object();
    one["id"] = item_id(block, index);
    if (block.kind == ReplyPiece::Kind::kCall) {
      one["type"] = "function_call";
      one["status"] = status;
      one["arguments"] = done ? block.text : "";
      one["call_id"] = call_id(format_, id_, 0, block.number, block.name);
      one["name"] = block.name;
      return one;
    }
    const bool reasoning = block.kind == ReplyPiece::Kind::kReasoning;
    one["type"] = reasoning ? "reasoning" : "message";
    if (reasoning) one["summary"] = Json::array();
    one["status"] = status;
    if (!reasoning) one["role"] = "assistant";
    one["content"] = Json::array();
    if (done) one["content"].push_back(part(block, block.text));
    return one;
  }

  Json place(const Block& block, std::size_t index) const {
    Json members = {{"item_id", item_id(block, index)}, {"output_index", index}};
    if (block.kind != ReplyPiece::Kind::kCall) members["content_index"] = 0;
    return members;
  }

  void opened(const Block& block, std::size_t index, Events& events) override {
    put("response.output_item.added", {{"output_index", index}, {"item", item(block, index, "in_progress")}}, events);
    if (block.kind == ReplyPiece::Kind::kCall) return;
    Json members = place(block, index);
    members["part"] = part(block, "");
    put("response.content_part.added", std::move(members), events);
  }

  static const char* delta_name(const Block& block) {
    return block.kind == ReplyPiece::Kind::kCall        ? "response.function_call_arguments.delta"
           : block.kind == ReplyPiece::Kind::kReasoning ? "response.reasoning_text.delta"
                                                        : "response.output_text.delta";
  }

  void grew(const Block& block, std::size_t index, const std::string& text, Events& events) override {
    Json members = place(block, index);
    members["delta"] = text;
    if (block.kind == ReplyPiece::Kind::kContent) members["logprobs"] = Json::array();
    put(delta_name(block), std::move(members), events);
  }

  void closed(const Block& block, std::size_t index, Events& events) override {
    Json members = place(block, index);
    if (block.kind == ReplyPiece::Kind::kCall) {
      members["name"] = block.name;
      members["arguments"] = block.text;
      put("response.function_call_arguments.done", std::move(members), events);
    } else {
      const bool reasoning = block.kind == ReplyPiece::Kind::kReasoning;
      Json ended = members;
      ended["text"] = block.text;
      if (!reasoning) ended["logprobs"] = Json::array();
      put(reasoning ? "response.reasoning_text.done" : "response.output_text.done", std::move(ended), events);
      members["part"] = part(block, block.text);
      put("response.content_part.done", std::move(members), events);
    }
    put("response.output_item.done", {{"output_index", index}, {"item", item(block, index, "completed")}}, events);
  }

  void ended(const SampleEnd& end, const Usage& usage, Events& events) override {
    const bool whole = end.reason == FinishReason::kStop;
    put(whole ? "response.completed" : "response.incomplete", {{"response", ended_response(end, usage)}}, events);
  }

  Json ended_response(const SampleEnd& end, const Usage& usage) const {
    const bool whole = end.reason == FinishReason::kStop;
    Json response = this->response(whole ? "completed" : "incomplete", &usage);
    if (!whole) response["incomplete_details"] = {{"reason", "max_output_tokens"}};
    const auto& all = blocks();
    for (std::size_t i = 0; i < all.size(); ++i) {
      const bool cut = !whole && i + 1 == all.size();
      response["output"].push_back(item(all[i], i, cut ? "incomplete" : "completed"));
    }
    return response;
  }

  Json response(const char* status, const Usage* usage) const {
    Json response = Json::object();
    response["id"] = id_;
    response["object"] = "response";
    response["created_at"] = created_;
    response["status"] = status;
    response["error"] = nullptr;
    response["incomplete_details"] = nullptr;
    response["model"] = model_;
    response["output"] = Json::array();
    response.update(echo_);
    response["usage"] = nullptr;
    if (usage == nullptr) return response;
    response["usage"] = {{"input_tokens", usage->prompt_tokens},
                         {"input_tokens_details", {{"cached_tokens", usage->cached_tokens}}},
                         {"output_tokens", usage->completion_tokens},
                         {"output_tokens_details", {{"reasoning_tokens", usage->reasoning_tokens}}},
                         {"total_tokens", usage->prompt_tokens + usage->completion_tokens}};
    return response;
  }

  const std::string id_;
  const std::string model_;
  const std::int64_t created_;
  const ToolFormat format_;
  const Json echo_;
  std::int64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<BlockWriter> responses_writer(std::string id, std::string model, std::int64_t created,
                                              ToolFormat format, const ResponsesEcho& echo) {
  return std::make_unique<ResponsesWriter>(std::move(id), std::move(model), created, format, echo);
}

}  // namespace foregate
