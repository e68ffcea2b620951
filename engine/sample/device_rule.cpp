#include "engine/sample/device_rule.h"

#include "engine/base/rng.h"

namespace foregate {

std::optional<SampleRule> device_rule(const SampleInput& input, std::int32_t ahead) {
  const SamplingParams& params = *input.params;
  const std::int64_t before = static_cast<std::int64_t>(input.output.size()) + ahead;
  const bool plain = params.logit_bias.empty() && params.allowed_token_ids.empty() && params.bad_words.empty() &&
                     !params.thinking && params.repetition_penalty == 1.0f && params.presence_penalty == 0.0f &&
                     params.frequency_penalty == 0.0f;
  if (!plain || input.allowed || params.logprobs || before < params.min_tokens) return std::nullopt;
  const auto position = static_cast<std::uint64_t>(input.prompt.size()) + static_cast<std::uint64_t>(before);
  return SampleRule{.draw = uniform01(input.seed, static_cast<std::uint64_t>(input.index), position),
                    .temperature = params.temperature,
                    .top_p = params.top_p,
                    .min_p = params.min_p,
                    .top_k = params.top_k};
}

}  // namespace foregate
