#include "engine/api/types.h"

#include <cmath>

namespace foregate {
namespace {

bool inside(float value, float low, float high) {
  return std::isfinite(value) && value >= low && value <= high;
}

Status out_of_range(const char* field, const char* range) {
  return invalid_argument(std::string(field) + " must be " + range, field);
}

Status validate_tokens(const std::vector<Token>& ids, const Limits& limits, const char* field) {
  for (Token id : ids) {
    if (id < 0 || id >= limits.vocab_size) {
      return invalid_argument(
          std::string(field) + " holds a token id outside 0.." + std::to_string(limits.vocab_size - 1), field);
    }
  }
  return {};
}

Status validate_shape(const SamplingParams& s) {
  if (!inside(s.temperature, 0.0f, 100.0f)) return out_of_range("temperature", "between 0 and 100");
  if (s.top_k < -1) return out_of_range("top_k", "-1, 0 or a positive number");
  if (!(inside(s.top_p, 0.0f, 1.0f) && s.top_p > 0.0f)) return out_of_range("top_p", "above 0 and at most 1");
  if (!inside(s.min_p, 0.0f, 1.0f)) return out_of_range("min_p", "between 0 and 1");
  if (!(inside(s.repetition_penalty, 0.0f, 100.0f) && s.repetition_penalty >= 0.01f)) {
    return out_of_range("repetition_penalty", "between 0.01 and 100");
  }
  if (!inside(s.presence_penalty, -2.0f, 2.0f)) return out_of_range("presence_penalty", "between -2 and 2");
  if (!inside(s.frequency_penalty, -2.0f, 2.0f)) return out_of_range("frequency_penalty", "between -2 and 2");
  return {};
}

Status validate_lists(const SamplingParams& s, const Limits& limits) {
  if (s.logit_bias.size() > static_cast<std::size_t>(limits.max_logit_bias)) {
    return invalid_argument("logit_bias has more than " + std::to_string(limits.max_logit_bias) + " entries",
                            "logit_bias");
  }
  for (const auto& [id, bias] : s.logit_bias) {
    if (id < 0 || id >= limits.vocab_size) return out_of_range("logit_bias", "keyed by token ids of the vocabulary");
    if (!inside(bias, -100.0f, 100.0f)) return out_of_range("logit_bias", "between -100 and 100");
  }
  if (s.stop_token_ids.size() > static_cast<std::size_t>(limits.max_stop_ids)) {
    return invalid_argument("stop_token_ids has more than " + std::to_string(limits.max_stop_ids) + " entries",
                            "stop_token_ids");
  }
  RETURN_IF_ERROR(validate_tokens(s.stop_token_ids, limits, "stop_token_ids"));
  return validate_tokens(s.allowed_token_ids, limits, "allowed_token_ids");
}

Status validate_rules(const SamplingParams& s, const Limits& limits) {
  for (const std::vector<Token>& word : s.bad_words) {
    if (word.empty()) return invalid_argument("bad_words must not hold an empty one", "bad_words");
    RETURN_IF_ERROR(validate_tokens(word, limits, "bad_words"));
  }
  if (!s.thinking) return {};
  if (s.thinking->tokens < 0) return out_of_range("thinking_token_budget", "at least 0");
  if (s.thinking->close.empty()) {
    return invalid_argument("thinking_token_budget needs a mark that ends thinking", "thinking_token_budget");
  }
  RETURN_IF_ERROR(validate_tokens(s.thinking->open, limits, "thinking_token_budget"));
  return validate_tokens(s.thinking->close, limits, "thinking_token_budget");
}

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kError: return "error";
  }
  return "error";
}

Status validate(const Request& request, const Limits& limits) {
  const SamplingParams& s = request.sampling;
  if (request.prompt.empty()) return invalid_argument("the prompt has no tokens", "prompt");
  RETURN_IF_ERROR(validate_tokens(request.prompt, limits, "prompt"));
  if (request.n < 1 || request.n > limits.max_n) {
    return invalid_argument("n must be between 1 and " + std::to_string(limits.max_n), "n");
  }
  if (request.cache_salt.size() > static_cast<std::size_t>(limits.max_salt_bytes)) {
    return invalid_argument("cache_salt is longer than " + std::to_string(limits.max_salt_bytes) + " bytes",
                            "cache_salt");
  }
  RETURN_IF_ERROR(validate_shape(s));
  RETURN_IF_ERROR(validate_lists(s, limits));
  RETURN_IF_ERROR(validate_rules(s, limits));
  if (s.logprobs && (*s.logprobs < 0 || *s.logprobs > limits.max_logprobs)) {
    return invalid_argument("logprobs must be between 0 and " + std::to_string(limits.max_logprobs), "logprobs");
  }
  if (request.prompt_logprobs && (*request.prompt_logprobs < 0 || *request.prompt_logprobs > limits.max_logprobs)) {
    return invalid_argument("prompt_logprobs must be between 0 and " + std::to_string(limits.max_logprobs),
                            "prompt_logprobs");
  }
  if (s.max_tokens < 1) return out_of_range("max_tokens", "at least 1");
  if (s.min_tokens < 0 || s.min_tokens > s.max_tokens) return out_of_range("min_tokens", "between 0 and max_tokens");
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  if (prompt + s.max_tokens > limits.max_model_len) {
    return invalid_argument("the prompt has " + std::to_string(prompt) + " tokens and max_tokens is " +
                                std::to_string(s.max_tokens) + ", together more than the model length of " +
                                std::to_string(limits.max_model_len),
                            "max_tokens");
  }
  return {};
}

}  // namespace foregate
