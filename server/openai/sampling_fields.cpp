#include "server/openai/sampling_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/api/limits.h"
#include "server/openai/request_id.h"

namespace foregate {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<std::int32_t>::max();

constexpr UnsupportedField kUnsupported[] = {
    {"suffix", R"([null, ""])"},
    {"guided_whitespace_pattern", "[null]"},
    {"use_beam_search", "[null, false]"},
    {"length_penalty", "[null, 1]"},
    {"prompt_embeds", "[null]"},
    {"logits_processors", "[null, []]"},
    {"chat_template", "[null]"},
    {"functions", "[null, []]"},
    {"function_call", R"([null, "none", "auto"])"},
    {"audio", "[null]"},
    {"modalities", R"([null, ["text"]])"},
    {"web_search_options", "[null]"},
    {"mm_processor_kwargs", "[null, {}]"},
    {"kv_transfer_params", "[null, {}]"},
    {"typical_p", "[null, 1]"},
    {"mirostat", "[null, 0]"},
    {"dry_multiplier", "[null, 0]"},
    {"xtc_probability", "[null, 0]"},
    {"top_n_sigma", "[null, -1, 0]"},
    {"dynatemp_range", "[null, 0]"},
    {"repeat_penalty", "[null, 1]"},
    {"adaptive_target", "[null, -1]"},
    {"samplers", "[null]"},
    {"n_predict", "[null, -1]"},
    {"n_probs", "[null, 0]"},
    {"n_indent", "[null, 0]"},
    {"t_max_predict_ms", "[null, 0, -1]"},
    {"lora", "[null, []]"},
    {"lora_path", "[null]"},
    {"regex", "[null]"},
    {"ebnf", "[null]"},
    {"stop_regex", "[null, []]"},
    {"custom_logit_processor", "[null]"},
    {"vllm_xargs", "[null, {}]"},
};

void read_stop(Fields& fields, const Limits& limits, ApiRequest& request) {
  const Json* stop = fields.find("stop");
  if (stop == nullptr || !fields.ok()) return;
  if (!stop->is_string() && !stop->is_array()) return fields.fail("stop", "must be a string or a list of strings");
  const Json list = stop->is_string() ? Json::array({*stop}) : Json();
  const Json& items = stop->is_string() ? list : *stop;
  if (items.size() > static_cast<std::size_t>(limits.max_stop_strings)) {
    return fields.fail("stop", "has more than " + std::to_string(limits.max_stop_strings) + " entries");
  }
  for (const Json& item : items) {
    if (!item.is_string()) return fields.fail("stop", "must be a string or a list of strings");
    const auto& text = item.get_ref<const std::string&>();
    if (text.empty()) return fields.fail("stop", "must not hold an empty string");
    if (text.size() > static_cast<std::size_t>(limits.max_stop_bytes)) {
      return fields.fail("stop", "holds a string longer than " + std::to_string(limits.max_stop_bytes) + " bytes");
    }
    request.stop.push_back(text);
  }
}

// Each word as it is spelled alone and behind a space, as in vLLM.
void read_bad_words(Fields& fields, const ApiContext& context, SamplingParams& sampling) {
  const Json* words = fields.find("bad_words");
  if (words == nullptr || !fields.ok()) return;
  const Limits& limits = context.limits;
  if (!words->is_array()) return fields.fail("bad_words", "must be a list of strings");
  if (words->size() > static_cast<std::size_t>(limits.max_bad_words)) {
    return fields.fail("bad_words", "has more than " + std::to_string(limits.max_bad_words) + " entries");
  }
  for (const Json& word : *words) {
    if (!word.is_string()) return fields.fail("bad_words", "must be a list of strings");
    std::string text = word.get<std::string>();
    if (text.size() > static_cast<std::size_t>(limits.max_bad_word_bytes)) {
      return fields.fail("bad_words",
                         "holds a string longer than " + std::to_string(limits.max_bad_word_bytes) + " bytes");
    }
    text.erase(0, text.find_first_not_of(' '));
    if (text.empty()) return fields.fail("bad_words", "must not hold an empty string");
    for (const std::string& spelled : {text, " " + text}) {
      auto tokens = context.tokenizer->encode(spelled, {});
      if (!tokens.ok()) return fields.fail("bad_words", "cannot be split into tokens: " + tokens.status().message());
      std::vector<std::vector<Token>>& all = sampling.bad_words;
      if (!tokens->empty() && std::find(all.begin(), all.end(), *tokens) == all.end())
        all.push_back(std::move(*tokens));
    }
  }
}

void read_logit_bias(Fields& fields, const Limits& limits, SamplingParams& sampling) {
  const Json* bias = fields.find("logit_bias");
  if (bias == nullptr || !fields.ok()) return;
  if (!bias->is_object()) return fields.fail("logit_bias", "must be an object of token ids and numbers");
  if (bias->size() > static_cast<std::size_t>(limits.max_logit_bias)) {
    return fields.fail("logit_bias", "has more than " + std::to_string(limits.max_logit_bias) + " entries");
  }
  for (const auto& [key, value] : bias->items()) {
    Token token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0 || token >= limits.vocab_size) {
      return fields.fail("logit_bias", "must be keyed by token ids of the vocabulary");
    }
    if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100)) {
      return fields.fail("logit_bias", "must hold numbers between -100 and 100");
    }
    sampling.logit_bias.emplace_back(token, value.get<float>());
  }
}

void read_seed(Fields& fields, SamplingParams& sampling) {
  if (fields.find("seed") == nullptr) return;
  std::int64_t seed = 0;
  fields.integer("seed", std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max(), seed);
  sampling.seed = static_cast<std::uint64_t>(seed);
}

void read_stream(Fields& fields, ApiRequest& request) {
  fields.boolean("stream", request.stream);
  fields.boolean("return_progress", request.return_progress);
  fields.boolean("timings_per_token", request.timings_per_token);
  const Json* options = fields.find("stream_options");
  if (options == nullptr || !fields.ok()) return;
  if (!options->is_object()) return fields.fail("stream_options", "must be an object");
  if (!request.stream) return fields.fail("stream_options", "is for streams only; set stream");
  Fields inner(*options, "stream_options.");
  inner.boolean("include_usage", request.include_usage);
  inner.boolean("continuous_usage_stats", request.continuous_usage);
  if (!inner.ok()) fields.fail_with(inner.status());
}

void read_sampling(Fields& fields, const ApiContext& context, SamplingParams& s) {
  const GenerationDefaults& defaults = context.defaults;
  s.temperature = defaults.temperature.value_or(s.temperature);
  s.top_p = defaults.top_p.value_or(s.top_p);
  s.top_k = defaults.top_k.value_or(s.top_k);
  s.min_p = defaults.min_p.value_or(s.min_p);
  s.repetition_penalty = defaults.repetition_penalty.value_or(s.repetition_penalty);
  fields.number("temperature", s.temperature);
  fields.number("top_p", s.top_p);
  fields.number("min_p", s.min_p);
  fields.number("repetition_penalty", s.repetition_penalty);
  fields.number("presence_penalty", s.presence_penalty);
  fields.number("frequency_penalty", s.frequency_penalty);
  std::int64_t top_k = s.top_k, min_tokens = 0;
  fields.integer("top_k", -1, kMaxInt, top_k);
  fields.integer("min_tokens", 0, kMaxInt, min_tokens);
  s.top_k = static_cast<std::int32_t>(top_k);
  s.min_tokens = static_cast<std::int32_t>(min_tokens);
  fields.boolean("ignore_eos", s.ignore_eos);
  fields.integers("stop_token_ids", static_cast<std::size_t>(context.limits.max_stop_ids), 0,
                  context.limits.vocab_size - 1, s.stop_token_ids);
  fields.integers("allowed_token_ids", static_cast<std::size_t>(context.limits.max_allowed_ids), 0,
                  context.limits.vocab_size - 1, s.allowed_token_ids);
  read_bad_words(fields, context, s);
  read_seed(fields, s);
  read_logit_bias(fields, context.limits, s);
}

void read_n(Fields& fields, const Limits& limits, ApiRequest& request) {
  std::int64_t n = 1;
  fields.integer("n", 1, limits.max_n, n);
  std::int64_t best_of = n;
  fields.integer("best_of", 1, limits.max_n, best_of);
  if (fields.ok() && best_of != n) fields.fail("best_of", "must equal n: choosing among more samples is not supported");
  request.n = static_cast<std::int32_t>(n);
}

std::optional<std::int32_t> read_optional(Fields& fields, const char* name, std::int64_t low, std::int64_t high) {
  if (fields.find(name) == nullptr) return std::nullopt;
  std::int64_t value = low;
  fields.integer(name, low, high, value);
  return static_cast<std::int32_t>(value);
}

// What is told or left out of a prompt. Needs to know whether the answer is a stream.
void read_prompt_fields(Fields& fields, const Limits& limits, ApiRequest& request) {
  request.prompt_logprobs = read_optional(fields, "prompt_logprobs", 0, limits.max_logprobs);
  if (fields.ok() && request.prompt_logprobs && request.stream) {
    fields.fail("prompt_logprobs", "is not for streams");
  }
  request.truncate_prompt = read_optional(fields, "truncate_prompt_tokens", -1, kMaxInt);
  if (fields.ok() && request.truncate_prompt == 0) fields.fail("truncate_prompt_tokens", "must be -1 or at least 1");
  request.thinking_budget = read_optional(fields, "thinking_token_budget", 0, kMaxInt);
}

void read_priority(Fields& fields, bool looked_at, ApiRequest& request) {
  std::int64_t priority = 0;
  fields.integer("priority", -kMaxInt, kMaxInt, priority);
  if (!fields.ok()) return;
  request.priority = static_cast<std::int32_t>(priority);
  if (priority != 0 && !looked_at) {
    fields.fail_with(unimplemented("priority is looked at under --scheduling-policy priority only", "priority"));
  }
}

// The last tokens of each prompt, as far as asked for or as leave room for the answer.
void keep_last(ApiRequest& request, const ApiContext& context, std::int32_t max_tokens) {
  const std::int64_t room = std::max<std::int64_t>(1, context.limits.max_model_len - max_tokens);
  const std::int64_t most = *request.truncate_prompt < 0 ? room : *request.truncate_prompt;
  for (std::size_t i = 0; i < request.prompts.size(); ++i) {
    std::vector<Token>& prompt = request.prompts[i];
    const auto size = static_cast<std::int64_t>(prompt.size());
    if (size <= most) continue;
    prompt.erase(prompt.begin(), prompt.begin() + (size - most));
    if (request.echo && request.kind == ApiKind::kCompletion)
      request.prompt_texts[i] = context.tokenizer->decode(prompt, request.skip_special_tokens);
  }
}

}  // namespace

void read_common_fields(Fields& fields, const ApiContext& context, ApiRequest& request) {
  fields.text("model", kMaxModelNameBytes, request.model);
  fields.text("request_id", kMaxRequestIdBytes, request.request_id);
  fields.fail_with(check_request_id(request.request_id, "request_id"));
  read_n(fields, context.limits, request);
  read_sampling(fields, context, request.sampling);
  read_stop(fields, context.limits, request);
  read_stream(fields, request);
  fields.boolean("include_stop_str_in_output", request.include_stop);
  fields.boolean("skip_special_tokens", request.skip_special_tokens);
  fields.boolean("return_token_ids", request.return_token_ids);
  fields.boolean("return_tokens_as_token_ids", request.tokens_as_ids);
  read_prompt_fields(fields, context.limits, request);
  read_priority(fields, context.priorities, request);
  fields.text("cache_salt", static_cast<std::size_t>(context.limits.max_salt_bytes), request.cache_salt);
}

std::span<const UnsupportedField> unsupported_fields() {
  return kUnsupported;
}

Status refuse_unsupported(const Json& body) {
  for (const UnsupportedField& row : kUnsupported) {
    const auto found = body.find(row.name);
    if (found == body.end()) continue;
    const Json neutral = Json::parse(row.neutral);
    if (std::find(neutral.begin(), neutral.end(), *found) == neutral.end()) {
      return unimplemented(std::string(row.name) + " is not supported by this server", row.name);
    }
  }
  return {};
}

Result<std::vector<Token>> tokenize_prompt(const std::string& text, const EncodeOptions& options,
                                           const ApiContext& context, const std::string& field) {
  if (context.max_prompt_bytes != 0 && text.size() > context.max_prompt_bytes) {
    return invalid_argument(field + " is too long for the model: " + std::to_string(text.size()) + " bytes of text",
                            field);
  }
  auto tokens = context.tokenizer->encode(text, options);
  if (!tokens.ok()) return Status(tokens.status().code(), field + ": " + tokens.status().message(), field);
  return tokens;
}

Status settle_thinking(ApiRequest& request, const ApiContext& context) {
  if (!request.thinking_budget) return {};
  const auto refused = [](const char* why) {
    return unimplemented(std::string("thinking_token_budget ") + why, "thinking_token_budget");
  };
  if (request.kind != ApiKind::kChat) return refused("is for chats");
  const ThinkMarks marks = request.reply ? think_marks(request.reply->reasoning) : ThinkMarks();
  if (marks.close.empty()) return refused("needs a model whose thinking has marks around it (--reasoning-parser)");
  ThinkingBudget budget;
  budget.tokens = *request.thinking_budget;
  budget.begun = request.reply->start == ReplyForm::Start::kOpen;
  ASSIGN_OR_RETURN(budget.open, context.tokenizer->encode(std::string(marks.open), {}));
  ASSIGN_OR_RETURN(budget.close, context.tokenizer->encode(std::string(marks.close), {}));
  request.sampling.thinking = std::move(budget);
  return {};
}

Status settle_lengths(ApiRequest& request, const ApiContext& context, std::optional<std::int32_t> asked_max_tokens,
                      std::int32_t fallback, const char* prompt_field, const char* max_tokens_field) {
  if (request.truncate_prompt) keep_last(request, context, asked_max_tokens.value_or(1));
  std::size_t longest = 0;
  for (const auto& prompt : request.prompts) {
    if (prompt.empty()) return invalid_argument(std::string(prompt_field) + " gives no tokens", prompt_field);
    longest = std::max(longest, prompt.size());
  }
  const std::int64_t room = context.limits.max_model_len - static_cast<std::int64_t>(longest);
  if (room < 1) {
    return invalid_argument(std::string(prompt_field) + " has " + std::to_string(longest) +
                                " tokens; the model takes " + std::to_string(context.limits.max_model_len) +
                                " with at least one for the answer",
                            prompt_field);
  }
  if (asked_max_tokens && *asked_max_tokens > room) {
    return invalid_argument(std::string(max_tokens_field) + " is " + std::to_string(*asked_max_tokens) +
                                ", but a prompt of " + std::to_string(longest) + " tokens leaves " +
                                std::to_string(room) + " of the model's " +
                                std::to_string(context.limits.max_model_len),
                            max_tokens_field);
  }
  std::int64_t most = asked_max_tokens.value_or(fallback == 0 ? room : std::min<std::int64_t>(room, fallback));
  if (!asked_max_tokens && fallback == 0 && context.defaults.max_tokens) {
    most = std::clamp<std::int64_t>(*context.defaults.max_tokens, 1, most);
  }
  request.sampling.max_tokens = static_cast<std::int32_t>(most);
  for (const auto& prompt : request.prompts) {
    Request probe;
    probe.prompt = prompt;
    probe.sampling = request.sampling;
    probe.n = request.n;
    const Status status = validate(probe, context.limits);
    if (status.ok()) continue;
    if (status.field() == "prompt") return Status(status.code(), status.message(), prompt_field);
    return status;
  }
  return {};
}

}  // namespace foregate
