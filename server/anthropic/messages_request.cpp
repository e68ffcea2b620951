#include "server/anthropic/messages_request.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/fields.h"
#include "server/openai/members.h"
#include "server/openai/renamed.h"

namespace foregate {
namespace {

constexpr std::pair<std::string_view, std::string_view> kNames[] = {{"max_completion_tokens", "max_tokens"},
                                                                    {"stop", "stop_sequences"}};

// Members of this API's own; the others mean what they mean in a chat.
constexpr const char* kOwn[] = {"messages",       "system",    "max_tokens",  "stop_sequences",     "tools",
                                "tool_choice",    "thinking",  "metadata",    "service_tier",       "n",
                                "stream_options", "container", "mcp_servers", "context_management", "betas",
                                "output_config",  "stop",      "logprobs",    "top_logprobs"};

// Text blocks only.
Result<Json> text_of(const Json& content, const std::string& field) {
  if (content.is_string()) return content;
  if (!content.is_array()) return bad_member(field, "must be a string or a list of blocks");
  Json parts = Json::array();
  for (std::size_t i = 0; i < content.size(); ++i) {
    const std::string where = field + "[" + std::to_string(i) + "]";
    if (!content[i].is_object()) return bad_member(where, "must be an object");
    if (text_member(content[i], "type") != "text") {
      return unimplemented(where + ".type: only text is supported by this model", where + ".type");
    }
    const Json* text = member(content[i], "text");
    if (text == nullptr || !text->is_string()) return bad_member(where + ".text", "must be a string");
    parts.push_back({{"type", "text"}, {"text", *text}});
  }
  return parts;
}

// One message may become several: results of tools are messages of their own.
class MessageReader {
 public:
  Status read(const Json& message, const std::string& where) {
    if (!message.is_object()) return bad_member(where, "must be an object");
    const std::string role = text_member(message, "role");
    if (role != "user" && role != "assistant") return bad_member(where + ".role", "must be user or assistant");
    const Json* content = member(message, "content");
    if (content == nullptr) return bad_member(where + ".content", "is missing");
    if (content->is_string()) return messages_.push_back({{"role", role}, {"content", *content}}), Status();
    if (!content->is_array()) return bad_member(where + ".content", "must be a string or a list of blocks");
    text_ = Json::array();
    whole_ = {{"role", role}};
    for (std::size_t i = 0; i < content->size(); ++i) {
      RETURN_IF_ERROR(block((*content)[i], role == "assistant", where + ".content[" + std::to_string(i) + "]"));
    }
    if (text_.empty() && !whole_.contains("tool_calls")) return {};  // results of tools alone
    whole_["content"] = std::move(text_);
    messages_.push_back(std::move(whole_));
    return {};
  }
  void put(const char* role, Json content) { messages_.push_back({{"role", role}, {"content", std::move(content)}}); }
  Json take() { return std::move(messages_); }

 private:
  Status block(const Json& one, bool assistant, const std::string& where) {
    if (!one.is_object()) return bad_member(where, "must be an object");
    const std::string type = text_member(one, "type");
    if (type == "text") {
      const Json* text = member(one, "text");
      if (text == nullptr || !text->is_string()) return bad_member(where + ".text", "must be a string");
      text_.push_back({{"type", "text"}, {"text", *text}});
      return {};
    }
    if (type == "tool_use" && assistant) return call(one, where);
    if (type == "tool_result" && !assistant) return result(one, where);
    if (type == "thinking" && assistant) return whole_["reasoning_content"] = text_member(one, "thinking"), Status();
    if (type == "redacted_thinking" && assistant) return {};
    return unimplemented(where + ".type is not supported", where + ".type");
  }

  Status call(const Json& one, const std::string& where) {
    for (const char* name : {"id", "name"}) {
      if (member(one, name) == nullptr || !one[name].is_string())
        return bad_member(where + "." + name, "must be a string");
    }
    const Json* input = member(one, "input");
    if (input == nullptr || !input->is_object()) return bad_member(where + ".input", "must be an object");
    whole_["tool_calls"].push_back(
        {{"id", one["id"]}, {"type", "function"}, {"function", {{"name", one["name"]}, {"arguments", *input}}}});
    return {};
  }

  Status result(const Json& one, const std::string& where) {
    const Json* id = member(one, "tool_use_id");
    if (id == nullptr || !id->is_string()) return bad_member(where + ".tool_use_id", "must be a string");
    const Json* content = member(one, "content");
    Json flat = "";
    if (content != nullptr) {
      ASSIGN_OR_RETURN(flat, text_of(*content, where + ".content"));
    }
    messages_.push_back({{"role", "tool"}, {"tool_call_id", *id}, {"content", std::move(flat)}});
    return {};
  }

  Json messages_ = Json::array();
  Json whole_, text_;
};

Result<Json> messages_of(const Json& body) {
  MessageReader reader;
  if (const Json* system = member(body, "system")) {
    ASSIGN_OR_RETURN(Json text, text_of(*system, "system"));
    reader.put("system", std::move(text));
  }
  const Json* messages = member(body, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty())
    return bad_member("messages", "must be a list of messages that is not empty");
  if (messages->size() > kMaxMessages)
    return bad_member("messages", "has more than " + std::to_string(kMaxMessages) + " entries");
  for (std::size_t i = 0; i < messages->size(); ++i) {
    RETURN_IF_ERROR(reader.read((*messages)[i], "messages[" + std::to_string(i) + "]"));
  }
  return reader.take();
}

Result<Json> tools_of(const Json& tools) {
  if (!tools.is_array()) return bad_member("tools", "must be a list");
  if (tools.size() > kMaxTools) return bad_member("tools", "has more than " + std::to_string(kMaxTools) + " entries");
  Json nested = Json::array();
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const std::string where = "tools[" + std::to_string(i) + "]";
    if (!tools[i].is_object()) return bad_member(where, "must be an object");
    const Json* kind = member(tools[i], "type");
    if (kind != nullptr && !kind->is_string()) return bad_member(where + ".type", "must be a string");
    const std::string type = text_member(tools[i], "type");
    if (!type.empty() && type != "custom")
      return unimplemented(where + ".type: only tools of the client are supported", where + ".type");
    Json function = Json::object();
    for (const char* name : {"name", "description"}) {
      if (const Json* value = member(tools[i], name)) function[name] = *value;
    }
    const Json* schema = member(tools[i], "input_schema");
    if (schema == nullptr || !schema->is_object())
      return bad_member(where + ".input_schema", "must be a JSON schema, an object");
    function["parameters"] = *schema;
    nested.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return nested;
}

Status put_tool_choice(const Json& choice, Json& chat) {
  if (!choice.is_object()) return bad_member("tool_choice", "must be an object");
  const std::string type = text_member(choice, "type");
  if (type == "tool") {
    chat["tool_choice"] = {{"type", "function"}, {"function", {{"name", choice.value("name", Json())}}}};
  } else if (type == "auto" || type == "none" || type == "any") {
    chat["tool_choice"] = type == "any" ? "required" : type;
  } else {
    return bad_member("tool_choice.type", "must be auto, any, tool or none");
  }
  if (const Json* single = member(choice, "disable_parallel_tool_use")) {
    if (!single->is_boolean()) return bad_member("tool_choice.disable_parallel_tool_use", "must be true or false");
    chat["parallel_tool_calls"] = !single->get<bool>();
  }
  return {};
}

// Whether the template shall let the model think, where it knows how to.
Status put_thinking(const Json& thinking, Json& chat) {
  if (!thinking.is_object()) return bad_member("thinking", "must be an object");
  const std::string type = text_member(thinking, "type");
  if (type != "enabled" && type != "disabled" && type != "adaptive")
    return bad_member("thinking.type", "must be enabled, disabled or adaptive");
  Json& kwargs = chat["chat_template_kwargs"];
  if (kwargs.is_null()) kwargs = Json::object();
  if (kwargs.is_object() && !kwargs.contains("enable_thinking")) kwargs["enable_thinking"] = type != "disabled";
  return {};
}

Result<Json> chat_of(const Json& body) {
  Json chat = body;
  for (const char* name : kOwn) chat.erase(name);
  ASSIGN_OR_RETURN(chat["messages"], messages_of(body));
  if (const Json* tools = member(body, "tools")) {
    ASSIGN_OR_RETURN(chat["tools"], tools_of(*tools));
  }
  if (const Json* choice = member(body, "tool_choice")) RETURN_IF_ERROR(put_tool_choice(*choice, chat));
  if (const Json* thinking = member(body, "thinking")) RETURN_IF_ERROR(put_thinking(*thinking, chat));
  if (const Json* stop = member(body, "stop_sequences")) chat["stop"] = *stop;
  if (const Json* most = member(body, "max_tokens")) chat["max_completion_tokens"] = *most;
  return chat;
}

}  // namespace

Result<ApiRequest> parse_messages_request(std::string_view body, const ApiContext& context) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  if (member(json, "max_tokens") == nullptr) return bad_member("max_tokens", "is missing");
  auto chat = chat_of(json);
  if (!chat.ok()) return chat.status();
  auto request = read_chat_request(*chat, context);
  if (!request.ok()) return renamed(request.status(), kNames);
  if (request->prompt_logprobs) return unimplemented("prompt_logprobs is not told here", "prompt_logprobs");
  return request;
}

Result<std::string> count_tokens_body(std::string_view body, const ApiContext& context) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  auto chat = chat_of(json);
  if (!chat.ok()) return chat.status();
  auto tokens = read_tokenize(*chat, context);
  if (!tokens.ok()) return renamed(tokens.status(), kNames);
  return Json{{"input_tokens", tokens->size()}}.dump();
}

}  // namespace foregate
