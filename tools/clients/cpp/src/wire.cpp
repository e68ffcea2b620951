#include "tools/clients/cpp/src/wire.h"

#include <utility>

namespace foregate::client {
namespace {

template <class Value, class Set>
void put(const std::optional<Value>& value, const Set& set) {
  if (value) set(*value);
}

v1::SamplingParams to_wire(const Sampling& from) {
  v1::SamplingParams to;
  put(from.temperature, [&](float v) { to.set_temperature(v); });
  put(from.top_p, [&](float v) { to.set_top_p(v); });
  put(from.min_p, [&](float v) { to.set_min_p(v); });
  put(from.repetition_penalty, [&](float v) { to.set_repetition_penalty(v); });
  put(from.presence_penalty, [&](float v) { to.set_presence_penalty(v); });
  put(from.frequency_penalty, [&](float v) { to.set_frequency_penalty(v); });
  put(from.top_k, [&](std::int32_t v) { to.set_top_k(v); });
  put(from.min_tokens, [&](std::int32_t v) { to.set_min_tokens(v); });
  put(from.max_tokens, [&](std::int32_t v) { to.set_max_tokens(v); });
  put(from.n, [&](std::int32_t v) { to.set_n(v); });
  put(from.logprobs, [&](std::int32_t v) { to.set_logprobs(v); });
  put(from.seed, [&](std::int64_t v) { to.set_seed(v); });
  put(from.include_stop_str_in_output, [&](bool v) { to.set_include_stop_str_in_output(v); });
  put(from.ignore_eos, [&](bool v) { to.set_ignore_eos(v); });
  put(from.skip_special_tokens, [&](bool v) { to.set_skip_special_tokens(v); });
  put(from.truncate_prompt_tokens, [&](std::int32_t v) { to.set_truncate_prompt_tokens(v); });
  put(from.thinking_token_budget, [&](std::int32_t v) { to.set_thinking_token_budget(v); });
  for (const std::int32_t id : from.allowed_token_ids) to.add_allowed_token_ids(id);
  for (const std::string& word : from.bad_words) to.add_bad_words(word);
  for (const auto& [token, bias] : from.logit_bias) (*to.mutable_logit_bias())[token] = bias;
  for (const std::int32_t id : from.stop_token_ids) to.add_stop_token_ids(id);
  for (const std::string& text : from.stop) to.add_stop(text);
  return to;
}

v1::OutputForm to_wire(const Form& from) {
  v1::OutputForm to;
  switch (from.kind) {
    case Form::Kind::kJsonSchema: to.set_json_schema(from.text); break;
    case Form::Kind::kJsonObject: to.set_json_object(true); break;
    case Form::Kind::kRegex: to.set_regex(from.text); break;
    case Form::Kind::kGrammar: to.set_grammar(from.text); break;
    case Form::Kind::kChoice:
      for (const std::string& text : from.choices) to.mutable_choice()->add_texts(text);
      if (from.choices.empty()) to.mutable_choice();
      break;
  }
  return to;
}

Finish from_wire(const v1::Finish& from) {
  Finish to;
  if (from.reason() == v1::Finish::STOP) to.reason = Finish::Reason::kStop;
  if (from.reason() == v1::Finish::LENGTH) to.reason = Finish::Reason::kLength;
  to.completion_tokens = from.completion_tokens();
  if (from.stopped_by_case() == v1::Finish::kStopString) to.stop_string = from.stop_string();
  if (from.stopped_by_case() == v1::Finish::kStopToken) to.stop_token = from.stop_token();
  return to;
}

TokenLogprob from_wire(const v1::TokenLogprob& from) {
  return {from.token(), from.logprob()};
}

}  // namespace

v1::Chat to_wire(const Chat& from) {
  v1::Chat to;
  for (const Message& message : from.messages) {
    v1::ChatMessage& one = *to.add_messages();
    one.set_role(message.role);
    one.set_content(message.content);
    one.set_name(message.name);
    one.set_tool_call_id(message.tool_call_id);
  }
  to.set_tools_json(from.tools_json);
  to.set_chat_template_kwargs_json(from.chat_template_kwargs_json);
  put(from.add_generation_prompt, [&](bool v) { to.set_add_generation_prompt(v); });
  put(from.continue_final_message, [&](bool v) { to.set_continue_final_message(v); });
  return to;
}

v1::GenerateRequest to_wire(const GenerateRequest& from, bool stream) {
  v1::GenerateRequest to;
  to.set_stream(stream);
  if (const auto* text = std::get_if<std::string>(&from.prompt)) to.set_text(*text);
  if (const auto* ids = std::get_if<TokenIds>(&from.prompt)) {
    to.mutable_token_ids()->mutable_ids()->Add(ids->begin(), ids->end());
  }
  if (const auto* chat = std::get_if<Chat>(&from.prompt)) *to.mutable_chat() = to_wire(*chat);
  *to.mutable_sampling() = to_wire(from.sampling);
  if (from.form) *to.mutable_output_form() = to_wire(*from.form);
  to.set_model(from.model);
  to.set_request_id(from.request_id);
  to.set_priority(from.priority);
  to.set_cache_salt(from.cache_salt);
  put(from.add_special_tokens, [&](bool v) { to.set_add_special_tokens(v); });
  return to;
}

Delta from_wire(v1::GenerateResponse&& from) {
  Delta to;
  to.index = from.index();
  to.text = std::move(*from.mutable_text());
  to.request_id = std::move(*from.mutable_request_id());
  to.token_ids.assign(from.token_ids().begin(), from.token_ids().end());
  for (const v1::PositionLogprobs& position : from.logprobs()) {
    PositionLogprobs one{from_wire(position.chosen()), {}};
    for (const v1::TokenLogprob& top : position.top()) one.top.push_back(from_wire(top));
    to.logprobs.push_back(std::move(one));
  }
  if (from.has_finish()) to.finish = from_wire(from.finish());
  if (from.has_prompt_info()) to.prompt = {from.prompt_info().prompt_tokens(), from.prompt_info().cached_tokens()};
  return to;
}

Tokens from_wire(const v1::TokenizeResponse& from) {
  return {{from.token_ids().begin(), from.token_ids().end()}, from.max_model_len()};
}

Health from_wire(const v1::HealthCheckResponse& from) {
  return {from.healthy(), from.status()};
}

ModelInfo from_wire(const v1::GetModelInfoResponse& from) {
  return {from.model(),
          {from.model_names().begin(), from.model_names().end()},
          from.model_path(),
          from.architecture(),
          from.parameters(),
          from.active_parameters(),
          from.vocab_size(),
          from.max_model_len(),
          {from.eos_token_ids().begin(), from.eos_token_ids().end()},
          from.has_chat_template()};
}

ServerInfo from_wire(const v1::GetServerInfoResponse& from) {
  return {from.version(), from.status(), from.uptime_seconds(), {from.facts().begin(), from.facts().end()}};
}

Loads from_wire(const v1::GetLoadsResponse& from) {
  return {from.running(),
          from.waiting(),
          from.paused(),
          from.kv_blocks_total(),
          from.kv_blocks_used(),
          from.prompt_tokens_total(),
          from.generation_tokens_total(),
          from.preemptions_total()};
}

void ReplyBuilder::add(Delta&& delta) {
  Choice& choice = choices_[delta.index];
  choice.text += delta.text;
  choice.token_ids.insert(choice.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
  choice.logprobs.insert(choice.logprobs.end(), std::make_move_iterator(delta.logprobs.begin()),
                         std::make_move_iterator(delta.logprobs.end()));
  if (delta.finish) choice.finish = std::move(*delta.finish);
  if (delta.prompt && delta.index == 0) reply_.prompt = *delta.prompt;
  if (!delta.request_id.empty()) reply_.request_id = std::move(delta.request_id);
}

Reply ReplyBuilder::take() {
  for (auto& [index, choice] : choices_) reply_.choices.push_back(std::move(choice));
  return std::move(reply_);
}

}  // namespace foregate::client
