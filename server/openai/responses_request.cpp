#include "server/openai/responses_request.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/fields.h"
#include "server/openai/members.h"
#include "server/openai/renamed.h"

namespace foregate {
namespace {

constexpr std::pair<std::string_view, std::string_view> kNames[] = {
    {"messages", "input"}, {"max_completion_tokens", "max_output_tokens"}, {"response_format", "text.format"}};

// Members of a response's own API; the others mean what they mean in a chat.
constexpr const char* kOwn[] = {"input",
                                "instructions",
                                "max_output_tokens",
                                "text",
                                "reasoning",
                                "store",
                                "include",
                                "metadata",
                                "truncation",
                                "background",
                                "service_tier",
                                "prompt_cache_key",
                                "conversation",
                                "safety_identifier",
                                "prompt",
                                "previous_response_id",
                                "n",
                                "stream_options",
                                "max_tool_calls",
                                "top_logprobs"};

// Parts of text, which chats call by another name.
Result<Json> content_of(const Json& content, const std::string& field) {
  if (content.is_string()) return content;
  if (!content.is_array()) return bad_member(field, "must be a string or a list of parts");
  Json parts = Json::array();
  for (std::size_t i = 0; i < content.size(); ++i) {
    const std::string where = field + "[" + std::to_string(i) + "]";
    const Json& part = content[i];
    if (!part.is_object()) return bad_member(where, "must be an object");
    const std::string type = text_member(part, "type");
    if (type == "refusal") {
      parts.push_back({{"type", "text"}, {"text", text_member(part, "refusal")}});
      continue;
    }
    if (type != "input_text" && type != "output_text" && type != "text") {
      return unimplemented(where + ".type: only text is supported by this model", where + ".type");
    }
    const Json* text = member(part, "text");
    if (text == nullptr || !text->is_string()) return bad_member(where + ".text", "must be a string");
    parts.push_back({{"type", "text"}, {"text", *text}});
  }
  return parts;
}

// The items of an input as messages of a chat. Calls and reasoning join the assistant's message they belong to.
class InputReader {
 public:
  Status read(const Json& input) {
    if (input.is_string()) return put("user", input), Status();
    if (!input.is_array()) return bad_member("input", "must be a string or a list of items");
    if (input.size() > kMaxMessages)
      return bad_member("input", "has more than " + std::to_string(kMaxMessages) + " items");
    for (std::size_t i = 0; i < input.size(); ++i) {
      RETURN_IF_ERROR(item(input[i], "input[" + std::to_string(i) + "]"));
    }
    flush();
    return {};
  }
  void put(const char* role, Json content) { messages_.push_back({{"role", role}, {"content", std::move(content)}}); }
  Json take() { return std::move(messages_); }

 private:
  Status item(const Json& one, const std::string& where) {
    if (!one.is_object()) return bad_member(where, "must be an object");
    const std::string type = one.contains("role") ? "message" : text_member(one, "type");
    if (type == "message") return message(one, where);
    if (type == "function_call") return call(one, where);
    if (type == "function_call_output") return output(one, where);
    if (type == "reasoning") return reasoning(one);
    return unimplemented(where + ".type is not supported", where + ".type");
  }

  Status message(const Json& one, const std::string& where) {
    const Json* content = member(one, "content");
    if (content == nullptr) return bad_member(where + ".content", "is missing");
    ASSIGN_OR_RETURN(Json flat, content_of(*content, where + ".content"));
    const std::string role = text_member(one, "role");
    if (role == "assistant") {
      if (said_) flush();
      open_["content"] = std::move(flat);
      said_ = true;
      return {};
    }
    if (role != "user" && role != "system" && role != "developer") {
      return bad_member(where + ".role", "must be one of user, assistant, system, developer");
    }
    flush();
    put(role.c_str(), std::move(flat));
    return {};
  }

  Status call(const Json& one, const std::string& where) {
    for (const char* name : {"name", "arguments", "call_id"}) {
      if (member(one, name) == nullptr || !one[name].is_string())
        return bad_member(where + "." + name, "must be a string");
    }
    if (!parse_object(one["arguments"].get_ref<const std::string&>()).ok()) {
      return bad_member(where + ".arguments", "must be the text of a JSON object");
    }
    open_["tool_calls"].push_back({{"id", one["call_id"]},
                                   {"type", "function"},
                                   {"function", {{"name", one["name"]}, {"arguments", one["arguments"]}}}});
    said_ = true;
    return {};
  }

  Status output(const Json& one, const std::string& where) {
    const Json* given = member(one, "output");
    if (given == nullptr) return bad_member(where + ".output", "is missing");
    ASSIGN_OR_RETURN(Json flat, content_of(*given, where + ".output"));
    if (member(one, "call_id") == nullptr || !one["call_id"].is_string())
      return bad_member(where + ".call_id", "must be a string");
    flush();
    messages_.push_back({{"role", "tool"}, {"tool_call_id", one["call_id"]}, {"content", std::move(flat)}});
    return {};
  }

  Status reasoning(const Json& one) {
    flush();
    std::string text;
    const Json* content = member(one, "content");
    if (content != nullptr && content->is_array()) {
      for (const Json& part : *content) {
        if (part.is_object()) text += text_member(part, "text");
      }
    }
    if (!text.empty()) open_["reasoning_content"] = text;
    return {};
  }

  // Ends the assistant's message that is open, if it says something.
  void flush() {
    Json open = std::exchange(open_, Json::object());
    if (!std::exchange(said_, false)) return;
    Json whole = {{"role", "assistant"}};
    whole["content"] = open.contains("content") ? open["content"] : Json("");
    for (const char* name : {"reasoning_content", "tool_calls"}) {
      if (open.contains(name)) whole[name] = std::move(open[name]);
    }
    messages_.push_back(std::move(whole));
  }

  Json messages_ = Json::array();
  Json open_ = Json::object();
  bool said_ = false;
};

// {"type": "function", "name": ...} beside one another become nested.
Result<Json> tools_of(const Json& tools) {
  if (!tools.is_array()) return bad_member("tools", "must be a list");
  if (tools.size() > kMaxTools) return bad_member("tools", "has more than " + std::to_string(kMaxTools) + " entries");
  Json nested = Json::array();
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const std::string where = "tools[" + std::to_string(i) + "]";
    if (!tools[i].is_object()) return bad_member(where, "must be an object");
    const std::string type = text_member(tools[i], "type");
    if (type != "function")
      return unimplemented(where + ".type: only function is supported by this server", where + ".type");
    Json function = Json::object();
    for (const char* name : {"name", "description", "parameters", "strict"}) {
      if (const Json* value = member(tools[i], name)) function[name] = *value;
    }
    nested.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return nested;
}

Status refuse_stored(const Json& body) {
  for (const char* name : {"previous_response_id", "conversation", "prompt"}) {
    if (member(body, name) != nullptr) {
      return unimplemented(std::string(name) + " is not supported: this server keeps no responses", name);
    }
  }
  if (body.value("background", Json()) == true) return unimplemented("background is not supported", "background");
  const Json truncation = body.value("truncation", Json("disabled"));
  if (!truncation.is_null() && truncation != "disabled") {
    return unimplemented("truncation is supported as disabled only", "truncation");
  }
  return {};
}

Status put_format(const Json& body, Json& chat) {
  const Json* text = member(body, "text");
  if (text == nullptr) return {};
  if (!text->is_object()) return bad_member("text", "must be an object");
  const Json* format = member(*text, "format");
  if (format == nullptr) return {};
  if (!format->is_object()) return bad_member("text.format", "must be an object");
  chat["response_format"] = *format;
  return {};
}

Status put_reasoning_effort(const Json& body, Json& chat) {
  const Json* reasoning = member(body, "reasoning");
  if (reasoning == nullptr) return {};
  if (!reasoning->is_object()) return bad_member("reasoning", "must be an object");
  if (const Json* effort = member(*reasoning, "effort")) chat["reasoning_effort"] = *effort;
  return {};
}

Result<Json> chat_of(const Json& body) {
  RETURN_IF_ERROR(refuse_stored(body));
  Json chat = body;
  for (const char* name : kOwn) chat.erase(name);
  InputReader reader;
  if (const Json* instructions = member(body, "instructions")) {
    if (!instructions->is_string()) return bad_member("instructions", "must be a string");
    reader.put("system", *instructions);
  }
  if (member(body, "input") == nullptr) return bad_member("input", "is missing");
  RETURN_IF_ERROR(reader.read(body["input"]));
  chat["messages"] = reader.take();
  if (const Json* tools = member(body, "tools")) {
    ASSIGN_OR_RETURN(chat["tools"], tools_of(*tools));
  }
  if (const Json* most = member(body, "max_output_tokens")) chat["max_completion_tokens"] = *most;
  RETURN_IF_ERROR(put_format(body, chat));
  RETURN_IF_ERROR(put_reasoning_effort(body, chat));
  return chat;
}

// What is long is not repeated: a stream says it three times.
constexpr std::size_t kMostEchoBytes = 16u << 10;

// The number as a person would write it: 0.7, not 0.699999988.
double as_written(float value) {
  char text[32];
  const char* end = std::to_chars(text, text + sizeof text, value).ptr;
  double number = 0.0;
  std::from_chars(text, end, number);
  return number;
}

std::string echo_of(const Json& body, const SamplingParams& sampling) {
  Json echo = Json::object();
  const auto put = [&](const char* name, Json fallback) { echo[name] = body.value(name, std::move(fallback)); };
  put("instructions", nullptr);
  put("max_output_tokens", nullptr);
  put("parallel_tool_calls", true);
  echo["previous_response_id"] = nullptr;
  put("reasoning", {{"effort", nullptr}, {"summary", nullptr}});
  echo["store"] = false;
  put("temperature", as_written(sampling.temperature));
  put("text", {{"format", {{"type", "text"}}}});
  put("tool_choice", "auto");
  put("tools", Json::array());
  put("top_p", as_written(sampling.top_p));
  put("truncation", "disabled");
  put("user", nullptr);
  put("metadata", Json::object());
  const auto dumped = [&] { return echo.dump(-1, ' ', false, Json::error_handler_t::replace); };
  std::string text = dumped();
  if (text.size() <= kMostEchoBytes) return text;
  for (const char* name : {"instructions", "metadata", "user"}) echo[name] = nullptr;
  echo["tools"] = Json::array();
  echo["text"] = {{"format", {{"type", "text"}}}};
  echo["tool_choice"] = "auto";
  return dumped();
}

}  // namespace

Result<ApiRequest> parse_responses_request(std::string_view body, const ApiContext& context, ResponsesEcho& echo) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  auto chat = chat_of(json);
  if (!chat.ok()) return chat.status();
  auto request = read_chat_request(*chat, context);
  if (!request.ok()) return renamed(request.status(), kNames);
  if (request->prompt_logprobs) return unimplemented("prompt_logprobs is not told here", "prompt_logprobs");
  echo.json = echo_of(json, request->sampling);
  return request;
}

}  // namespace foregate
