#include "server/grpc/request_body.h"

#include <nlohmann/json.hpp>

#include "server/openai/fields.h"

namespace foregate {
namespace {

template <class Value>
void put(Json& body, const char* name, bool set, const Value& value) {
  if (set) body[name] = value;
}

template <class List>
Json list_of(const List& values) {
  Json list = Json::array();
  for (const auto& value : values) list.push_back(value);
  return list;
}

void put_sampling(const v1::SamplingParams& from, Json& body) {
  put(body, "temperature", from.has_temperature(), from.temperature());
  put(body, "top_k", from.has_top_k(), from.top_k());
  put(body, "top_p", from.has_top_p(), from.top_p());
  put(body, "min_p", from.has_min_p(), from.min_p());
  put(body, "repetition_penalty", from.has_repetition_penalty(), from.repetition_penalty());
  put(body, "presence_penalty", from.has_presence_penalty(), from.presence_penalty());
  put(body, "frequency_penalty", from.has_frequency_penalty(), from.frequency_penalty());
  put(body, "include_stop_str_in_output", from.has_include_stop_str_in_output(), from.include_stop_str_in_output());
  put(body, "ignore_eos", from.has_ignore_eos(), from.ignore_eos());
  put(body, "skip_special_tokens", from.has_skip_special_tokens(), from.skip_special_tokens());
  put(body, "min_tokens", from.has_min_tokens(), from.min_tokens());
  put(body, "max_tokens", from.has_max_tokens(), from.max_tokens());
  put(body, "seed", from.has_seed(), from.seed());
  put(body, "n", from.has_n(), from.n());
  put(body, "truncate_prompt_tokens", from.has_truncate_prompt_tokens(), from.truncate_prompt_tokens());
  put(body, "thinking_token_budget", from.has_thinking_token_budget(), from.thinking_token_budget());
  if (!from.allowed_token_ids().empty()) body["allowed_token_ids"] = list_of(from.allowed_token_ids());
  if (!from.bad_words().empty()) body["bad_words"] = list_of(from.bad_words());
  if (!from.stop_token_ids().empty()) body["stop_token_ids"] = list_of(from.stop_token_ids());
  if (!from.stop().empty()) body["stop"] = list_of(from.stop());
}

// An object looks at each member when one is added: bounded before it is made.
Status put_logit_bias(const v1::SamplingParams& from, const Limits& limits, Json& body) {
  if (from.logit_bias().empty()) return {};
  if (from.logit_bias().size() > static_cast<std::size_t>(limits.max_logit_bias)) {
    return invalid_argument("logit_bias has more than " + std::to_string(limits.max_logit_bias) + " entries",
                            "logit_bias");
  }
  Json bias = Json::object();
  for (const auto& [token, value] : from.logit_bias()) bias[std::to_string(token)] = value;
  body["logit_bias"] = std::move(bias);
  return {};
}

Status put_json(const char* name, const std::string& text, Json& body) {
  if (text.empty()) return {};
  auto wrapped = parse_object(std::string("{\"value\":") + text + "}");
  if (!wrapped.ok() || wrapped->size() != 1) return invalid_argument(std::string(name) + " is not valid JSON", name);
  body[name] = std::move((*wrapped)["value"]);
  return {};
}

Status put_chat(const v1::Chat& chat, Json& body) {
  if (static_cast<std::size_t>(chat.messages_size()) > kMaxMessages) {
    return invalid_argument("messages has more than " + std::to_string(kMaxMessages) + " entries", "messages");
  }
  Json messages = Json::array();
  for (const v1::ChatMessage& message : chat.messages()) {
    Json one = Json::object();
    one["role"] = message.role();
    one["content"] = message.content();
    put(one, "name", !message.name().empty(), message.name());
    put(one, "tool_call_id", !message.tool_call_id().empty(), message.tool_call_id());
    messages.push_back(std::move(one));
  }
  body["messages"] = std::move(messages);
  put(body, "add_generation_prompt", chat.has_add_generation_prompt(), chat.add_generation_prompt());
  put(body, "continue_final_message", chat.has_continue_final_message(), chat.continue_final_message());
  RETURN_IF_ERROR(put_json("tools", chat.tools_json(), body));
  return put_json("chat_template_kwargs", chat.chat_template_kwargs_json(), body);
}

void put_form(const v1::OutputForm& form, Json& body) {
  Json outputs = Json::object();
  put(outputs, "json", form.has_json_schema(), form.json_schema());
  put(outputs, "json_object", form.has_json_object(), form.json_object());
  put(outputs, "regex", form.has_regex(), form.regex());
  put(outputs, "grammar", form.has_grammar(), form.grammar());
  if (form.has_choice()) outputs["choice"] = list_of(form.choice().texts());
  body["structured_outputs"] = std::move(outputs);
}

}  // namespace

Result<ApiRequest> read_generate(const v1::GenerateRequest& message, const ApiContext& context) {
  const v1::SamplingParams& sampling = message.sampling();
  Json body = Json::object();
  put(body, "model", !message.model().empty(), message.model());
  put(body, "stream", true, message.stream());
  put(body, "add_special_tokens", message.has_add_special_tokens(), message.add_special_tokens());
  put(body, "priority", message.priority() != 0, message.priority());
  put(body, "cache_salt", !message.cache_salt().empty(), message.cache_salt());
  put_sampling(sampling, body);
  if (message.has_output_form()) put_form(message.output_form(), body);
  RETURN_IF_ERROR(put_logit_bias(sampling, context.limits, body));
  if (message.has_chat()) {
    RETURN_IF_ERROR(put_chat(message.chat(), body));
    put(body, "logprobs", sampling.has_logprobs(), true);
    put(body, "top_logprobs", sampling.has_logprobs(), sampling.logprobs());
    return read_chat_request(body, context);
  }
  put(body, "logprobs", sampling.has_logprobs(), sampling.logprobs());
  if (message.has_text()) {
    body["prompt"] = message.text();
  } else if (message.has_token_ids()) {
    const auto count = static_cast<std::int64_t>(message.token_ids().ids_size());
    if (count > context.limits.max_model_len) {
      return invalid_argument("prompt has more tokens than the model takes", "prompt");
    }
    body["prompt"] = list_of(message.token_ids().ids());
  }
  return read_completion_request(body, context);
}

Result<std::vector<Token>> read_tokenize_request(const v1::TokenizeRequest& message, const ApiContext& context) {
  Json body = Json::object();
  put(body, "add_special_tokens", message.has_add_special_tokens(), message.add_special_tokens());
  if (message.has_chat()) {
    RETURN_IF_ERROR(put_chat(message.chat(), body));
  } else if (message.has_text()) {
    body["prompt"] = message.text();
  }
  return read_tokenize(body, context);
}

}  // namespace foregate
