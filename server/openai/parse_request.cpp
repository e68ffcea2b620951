#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/output_form.h"
#include "server/openai/sampling_fields.h"
#include "server/openai/tool_fields.h"

namespace foregate {
namespace {

constexpr std::int64_t kMaxInt = 0x7fffffff;

Status check_model(const ApiRequest& request, const ApiContext& context) {
  const auto& names = context.model_names;
  if (request.model.empty() || std::find(names.begin(), names.end(), request.model) != names.end()) return {};
  return Status(Code::kNotFound, "this server does not serve the model asked for; GET /v1/models lists what it serves",
                "model");
}

std::optional<std::int32_t> read_max_tokens(Fields& fields, const char* name) {
  std::int64_t value = 0;
  fields.integer(name, 1, kMaxInt, value);
  if (value == 0) return std::nullopt;
  return static_cast<std::int32_t>(value);
}

void read_chat_logprobs(Fields& fields, const Limits& limits, ApiRequest& request) {
  bool wanted = false;
  fields.boolean("logprobs", wanted);
  std::int64_t top = 0;
  fields.integer("top_logprobs", 0, limits.max_logprobs, top);
  if (fields.ok() && top > 0 && !wanted) return fields.fail("top_logprobs", "needs logprobs to be true");
  if (wanted) request.sampling.logprobs = static_cast<std::int32_t>(top);
}

void read_completion_logprobs(Fields& fields, const Limits& limits, ApiRequest& request) {
  if (fields.find("logprobs") == nullptr) return;
  std::int64_t top = 0;
  fields.integer("logprobs", 0, limits.max_logprobs, top);
  request.sampling.logprobs = static_cast<std::int32_t>(top);
}

// Adds one prompt of a completions request: text, or a list of token ids.
Status add_prompt(const Json& prompt, const std::string& field, bool add_special, const ApiContext& context,
                  ApiRequest& request) {
  if (prompt.is_string()) {
    const EncodeOptions options{add_special, {}};
    ASSIGN_OR_RETURN(auto tokens, tokenize_prompt(prompt.get_ref<const std::string&>(), options, context, field));
    request.prompts.push_back(std::move(tokens));
    request.prompt_texts.push_back(prompt.get<std::string>());
    return {};
  }
  if (!request.truncate_prompt && prompt.size() > static_cast<std::size_t>(context.limits.max_model_len)) {
    return invalid_argument(field + " has more tokens than the model takes", field);
  }
  std::vector<Token> tokens;
  for (const Json& item : prompt) {
    const auto id = item.is_number() ? whole_number(item) : std::nullopt;
    if (!id || *id < 0 || *id >= context.limits.vocab_size) {
      return invalid_argument(
          field + " must hold token ids between 0 and " + std::to_string(context.limits.vocab_size - 1), field);
    }
    tokens.push_back(static_cast<Token>(*id));
  }
  request.prompt_texts.push_back(request.echo ? context.tokenizer->decode(tokens, request.skip_special_tokens) : "");
  request.prompts.push_back(std::move(tokens));
  return {};
}

Status read_prompts(const Json& body, bool add_special, const ApiContext& context, ApiRequest& request) {
  const char* kWanted = "prompt must be a string, a list of strings, a list of token ids or a list of such lists";
  const auto prompt = body.find("prompt");
  if (prompt == body.end() || prompt->is_null()) return invalid_argument("prompt is missing", "prompt");
  if (prompt->is_string()) return add_prompt(*prompt, "prompt", add_special, context, request);
  if (!prompt->is_array()) return invalid_argument(kWanted, "prompt");
  if (prompt->empty()) return invalid_argument("prompt is an empty list", "prompt");
  const Json& first = prompt->front();
  if (first.is_number()) return add_prompt(*prompt, "prompt", add_special, context, request);
  if (!first.is_string() && !first.is_array()) return invalid_argument(kWanted, "prompt");
  if (prompt->size() > kMaxPrompts) {
    return invalid_argument("prompt holds more than " + std::to_string(kMaxPrompts) + " prompts", "prompt");
  }
  for (std::size_t i = 0; i < prompt->size(); ++i) {
    const Json& item = (*prompt)[i];
    if (item.is_string() != first.is_string() || item.is_array() != first.is_array()) {
      return invalid_argument(kWanted, "prompt");
    }
    RETURN_IF_ERROR(add_prompt(item, "prompt[" + std::to_string(i) + "]", add_special, context, request));
  }
  return {};
}

// How the reply to this prompt is read, and what it is held to: calls where they are demanded, else the form asked for,
// or calls in its place where they may be made.
Status settle_reply(const Json& body, const ToolUse& tools, const std::string& prompt, const ApiContext& context,
                    ApiRequest& request) {
  request.reply = reply_form(tools, prompt, context);
  if (request.reply) request.shown_specials = shown_specials(*request.reply, *context.tokenizer);
  const grammar::FreeStart before = request.reply ? reasoning_before(*request.reply, context) : grammar::FreeStart();
  if (!tools.held()) {
    ASSIGN_OR_RETURN(request.constraint, read_output_form(body, context, before, calls_beside_form(tools, context)));
  } else {
    auto made = context.grammars->compile(calls_grammar(tools, *request.reply, before));
    if (!made.ok()) return Status(made.status().code(), "tools: " + made.status().message(), "tools");
    request.constraint = std::move(made).value();
  }
  // A form that leaves no room for reasoning.
  if (request.constraint && before.close.empty() && request.reply) request.reply->start = ReplyForm::Start::kClosed;
  return {};
}

}  // namespace

Result<ApiRequest> parse_chat_request(std::string_view body, const ApiContext& context) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  return read_chat_request(json, context);
}

Result<ApiRequest> parse_completion_request(std::string_view body, const ApiContext& context) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  return read_completion_request(json, context);
}

Result<ApiRequest> read_chat_request(const Json& json, const ApiContext& context) {
  ApiRequest request;
  request.kind = ApiKind::kChat;
  Fields fields(json);
  fields.text("model", 1024, request.model);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(check_model(request, context));
  RETURN_IF_ERROR(refuse_unsupported(json));
  read_common_fields(fields, context, request);
  RETURN_IF_ERROR(fields.status());
  ASSIGN_OR_RETURN(const ToolUse tools, read_tool_use(json, context));
  read_chat_logprobs(fields, context.limits, request);
  const auto older = read_max_tokens(fields, "max_tokens");
  const auto newer = read_max_tokens(fields, "max_completion_tokens");
  const auto max_tokens = newer ? newer : older;
  const char* max_field = newer ? "max_completion_tokens" : "max_tokens";
  fields.boolean("echo", request.echo);
  RETURN_IF_ERROR(fields.status());
  ASSIGN_OR_RETURN(ChatPrompt prompt, render_chat(json, tools, context));
  RETURN_IF_ERROR(settle_reply(json, tools, prompt.text, context, request));
  RETURN_IF_ERROR(settle_thinking(request, context));
  request.prompts.push_back(std::move(prompt.tokens));
  if (request.echo) request.prompt_texts.push_back(std::move(prompt.last_reply));
  RETURN_IF_ERROR(settle_lengths(request, context, max_tokens, 0, "messages", max_field));
  return request;
}

Result<ApiRequest> read_completion_request(const Json& json, const ApiContext& context) {
  ApiRequest request;
  request.kind = ApiKind::kCompletion;
  Fields fields(json);
  fields.text("model", 1024, request.model);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(check_model(request, context));
  RETURN_IF_ERROR(refuse_unsupported(json));
  read_common_fields(fields, context, request);
  RETURN_IF_ERROR(fields.status());
  ASSIGN_OR_RETURN(request.constraint, read_output_form(json, context));
  read_completion_logprobs(fields, context.limits, request);
  const auto max_tokens = read_max_tokens(fields, "max_tokens");
  fields.boolean("echo", request.echo);
  bool add_special = true;
  fields.boolean("add_special_tokens", add_special);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(settle_thinking(request, context));
  RETURN_IF_ERROR(read_prompts(json, add_special, context, request));
  RETURN_IF_ERROR(settle_lengths(request, context, max_tokens, 16, "prompt", "max_tokens"));
  return request;
}

Result<std::vector<Token>> read_tokenize(const Json& json, const ApiContext& context) {
  if (json.contains("messages")) {
    ASSIGN_OR_RETURN(const ToolUse tools, read_tool_use(json, context));
    ASSIGN_OR_RETURN(ChatPrompt prompt, render_chat(json, tools, context));
    return std::move(prompt.tokens);
  }
  Fields fields(json);
  bool add_special = true;
  fields.boolean("add_special_tokens", add_special);
  RETURN_IF_ERROR(fields.status());
  const auto text = json.find("prompt");
  if (text == json.end() || !text->is_string()) return invalid_argument("prompt must be a string", "prompt");
  const EncodeOptions options{add_special, {}};
  return tokenize_prompt(text->get_ref<const std::string&>(), options, context, "prompt");
}

Result<std::string> tokenize_body(std::string_view body, const ApiContext& context) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  ASSIGN_OR_RETURN(const std::vector<Token> tokens, read_tokenize(json, context));
  Json answer = Json::object();
  answer["count"] = tokens.size();
  answer["max_model_len"] = context.limits.max_model_len;
  answer["tokens"] = tokens;
  return answer.dump();
}

Result<std::string> apply_template_body(std::string_view body, const ApiContext& context) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  ASSIGN_OR_RETURN(const ToolUse tools, read_tool_use(json, context));
  ASSIGN_OR_RETURN(const ChatPrompt prompt, render_chat(json, tools, context));
  return Json{{"prompt", prompt.text}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> detokenize_body(std::string_view body, const ApiContext& context) {
  ASSIGN_OR_RETURN(const Json json, parse_object(body));
  Fields fields(json);
  std::vector<Token> tokens;
  fields.integers("tokens", 1u << 20, 0, context.limits.vocab_size - 1, tokens);
  if (fields.ok() && fields.find("tokens") == nullptr) fields.fail("tokens", "is missing");
  RETURN_IF_ERROR(fields.status());
  Json answer = Json::object();
  answer["prompt"] = context.tokenizer->decode(tokens, false);
  return answer.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace foregate
