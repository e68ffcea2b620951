#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/api/limits.h"
#include "server/openai/sampling_fields.h"
#include "server/openai/tool_fields.h"

namespace foregate {
namespace {

constexpr const char* kRoles[] = {"system", "developer", "user", "assistant", "tool"};

// Names a client may not set through chat_template_kwargs: they are the server's own.
constexpr const char* kReserved[] = {
    "messages",    "tools",           "documents",       "add_generation_prompt", "continue_final_message",
    "bos_token",   "eos_token",       "tokenize",        "chat_template",         "conversation",
    "return_dict", "return_tensors",  "raise_exception", "strftime_now",          "namespace",
    "range",       "tokenizer_kwargs"};

template <std::size_t N>
bool is_one_of(const std::string& word, const char* const (&words)[N]) {
  return std::any_of(std::begin(words), std::end(words), [&](const char* known) { return word == known; });
}

Status bad(const std::string& field, const std::string& what) {
  return invalid_argument(field + " " + what, field);
}

// A list of text parts becomes one string, parts joined by a line break.
Status flatten_content(Json& content, const std::string& field) {
  if (content.is_string()) return {};
  if (!content.is_array()) return bad(field, "must be a string or a list of text parts");
  if (content.size() > kMaxParts) return bad(field, "has more than " + std::to_string(kMaxParts) + " parts");
  std::string joined;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const Json& part = content[i];
    const std::string where = field + "[" + std::to_string(i) + "]";
    if (part.is_string()) {
      joined += (i == 0 ? "" : "\n") + part.get_ref<const std::string&>();
      continue;
    }
    if (!part.is_object()) return bad(where, "must be an object");
    const auto type = part.find("type");
    if (type == part.end() || !type->is_string()) return bad(where + ".type", "must be a string");
    if (*type != "text") return unimplemented(where + ".type: only text is supported by this model", where + ".type");
    const auto text = part.find("text");
    if (text == part.end() || !text->is_string()) return bad(where + ".text", "must be a string");
    joined += (i == 0 ? "" : "\n") + text->get_ref<const std::string&>();
  }
  content = std::move(joined);
  return {};
}

// Arguments of earlier calls arrive as JSON text; templates want the value. Parsed, never evaluated.
Status check_tool_calls(Json& calls, const std::string& field) {
  if (!calls.is_array()) return bad(field, "must be a list");
  if (calls.size() > kMaxToolCalls) return bad(field, "has more than " + std::to_string(kMaxToolCalls) + " entries");
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::string where = field + "[" + std::to_string(i) + "].function";
    if (!calls[i].is_object() || !calls[i].contains("function") || !calls[i]["function"].is_object()) {
      return bad(where, "must be an object");
    }
    Json& function = calls[i]["function"];
    if (!function.contains("name") || !function["name"].is_string()) return bad(where + ".name", "must be a string");
    if (!function.contains("arguments") || function["arguments"].is_null()) {
      function["arguments"] = Json::object();
    } else if (function["arguments"].is_string()) {
      auto parsed = parse_object(function["arguments"].get_ref<const std::string&>());
      if (!parsed.ok()) return bad(where + ".arguments", "must be the text of a JSON object");
      function["arguments"] = std::move(parsed).value();
    } else if (!function["arguments"].is_object()) {
      return bad(where + ".arguments", "must be the text of a JSON object");
    }
  }
  return {};
}

Status check_message(Json& message, const std::string& field) {
  if (!message.is_object()) return bad(field, "must be an object");
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string()) return bad(field + ".role", "must be a string");
  if (!is_one_of(role->get_ref<const std::string&>(), kRoles)) {
    return bad(field + ".role", "must be one of system, developer, user, assistant, tool");
  }
  const bool assistant = *role == "assistant";
  const bool has_calls = assistant && message.contains("tool_calls") && !message["tool_calls"].is_null();
  if (has_calls) RETURN_IF_ERROR(check_tool_calls(message["tool_calls"], field + ".tool_calls"));
  if (!message.contains("content") || message["content"].is_null()) {
    if (!has_calls) return bad(field + ".content", "is missing");
    message["content"] = "";
    return {};
  }
  return flatten_content(message["content"], field + ".content");
}

Result<Json> checked_messages(const Json& body) {
  const auto found = body.find("messages");
  if (found == body.end() || !found->is_array()) return bad("messages", "must be a list of messages");
  if (found->empty()) return bad("messages", "must not be empty");
  if (found->size() > kMaxMessages)
    return bad("messages", "has more than " + std::to_string(kMaxMessages) + " entries");
  Json messages = *found;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(check_message(messages[i], "messages[" + std::to_string(i) + "]"));
  }
  return messages;
}

Status add_template_options(const Fields& fields, Json& variables) {
  if (const Json* documents = fields.find("documents")) {
    if (!documents->is_array() || documents->size() > kMaxTools) return bad("documents", "must be a list of objects");
    variables["documents"] = *documents;
  }
  if (const Json* effort = fields.find("reasoning_effort")) {
    if (!effort->is_string() || effort->get_ref<const std::string&>().size() > 64) {
      return bad("reasoning_effort", "must be a short string");
    }
    variables["reasoning_effort"] = *effort;
  }
  const Json* kwargs = fields.find("chat_template_kwargs");
  if (kwargs == nullptr) return {};
  if (!kwargs->is_object()) return bad("chat_template_kwargs", "must be an object");
  if (kwargs->size() > kMaxTemplateKwargs) return bad("chat_template_kwargs", "has too many members");
  for (const auto& [key, value] : kwargs->items()) {
    if (is_one_of(key, kReserved)) {
      return bad("chat_template_kwargs", "must not set \"" + key + "\", which the server sets itself");
    }
    variables[key] = value;
  }
  return {};
}

// Cuts the rendered text after the last message, so that the answer goes on from there.
Status cut_after_last(const Json& messages, RenderedChat& rendered) {
  std::string last = messages.back()["content"].get<std::string>();
  last.erase(last.find_last_not_of(" \n\t\r") + 1);
  const std::size_t at = last.empty() ? std::string::npos : rendered.text.rfind(last);
  if (at == std::string::npos) {
    return bad("continue_final_message", "cannot be honoured: the template changes the last message");
  }
  rendered.text.resize(at + last.size());
  while (!rendered.input_spans.empty() && rendered.input_spans.back().begin >= rendered.text.size()) {
    rendered.input_spans.pop_back();
  }
  if (!rendered.input_spans.empty()) {
    rendered.input_spans.back().end = std::min(rendered.input_spans.back().end, rendered.text.size());
  }
  return {};
}

Status template_status(const Status& status) {
  if (status.code() == Code::kInternal) return status;
  return invalid_argument("the chat template refuses these messages: " + status.message(), "messages");
}

}  // namespace

Result<ChatPrompt> render_chat(const Json& body, const ToolUse& use, const ApiContext& context) {
  if (context.chat_template == nullptr) {
    return unimplemented("this model has no chat template; use /v1/completions or --chat-template", "messages");
  }
  Fields fields(body);
  bool add_prompt = true, continue_last = false, special = false;
  fields.boolean("continue_final_message", continue_last);
  if (continue_last && fields.find("add_generation_prompt") == nullptr) add_prompt = false;
  fields.boolean("add_generation_prompt", add_prompt);
  fields.boolean("add_special_tokens", special);
  RETURN_IF_ERROR(fields.status());
  if (continue_last && add_prompt) {
    return bad("continue_final_message", "and add_generation_prompt exclude each other");
  }
  Json variables = Json::object();
  ASSIGN_OR_RETURN(variables["messages"], checked_messages(body));
  variables["tools"] = use.tools == nullptr ? Json(nullptr) : *use.tools;
  variables["add_generation_prompt"] = add_prompt;
  variables["bos_token"] = context.bos_token;
  variables["eos_token"] = context.eos_token;
  RETURN_IF_ERROR(add_template_options(fields, variables));
  auto rendered = context.chat_template->render(variables, {}, context.now_unix_seconds);
  if (!rendered.ok()) return template_status(rendered.status());
  if (continue_last) RETURN_IF_ERROR(cut_after_last(variables["messages"], *rendered));
  ChatPrompt prompt;
  const EncodeOptions options{special, rendered->input_spans};
  ASSIGN_OR_RETURN(prompt.tokens, tokenize_prompt(rendered->text, options, context, "messages"));
  prompt.text = std::move(rendered->text);
  const Json& last = variables["messages"].back();
  if (last["role"] == "assistant") prompt.last_reply = last["content"].get<std::string>();
  return prompt;
}

}  // namespace foregate
