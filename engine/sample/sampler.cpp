#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>

#include "engine/base/rng.h"
#include "engine/sample/logprobs.h"

namespace foregate {
namespace {

constexpr float kGreedyBelow = 1e-5f;

bool contains(std::span<const Token> ids, Token id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Sampler::Sampler(std::int32_t vocab_size) : counts_(vocab_size) {
  row_.reserve(static_cast<std::size_t>(vocab_size));
}

Result<SampledToken> Sampler::sample(const SampleInput& input) {
  if (!all_finite(input.logits)) return internal_error("the model gave logits that are not finite numbers");
  row_.assign(input.logits.begin(), input.logits.end());
  const SamplingParams& params = *input.params;
  SampledToken result;
  ASSIGN_OR_RETURN(result.token, choose(input));
  result.stops =
      contains(params.stop_token_ids, result.token) || (!params.ignore_eos && contains(input.eos_ids, result.token));
  if (params.logprobs) result.logprobs = position_logprobs(input.logits, result.token, *params.logprobs);
  return result;
}

Result<Token> Sampler::choose(const SampleInput& input) {
  const SamplingParams& params = *input.params;
  if (static_cast<std::int64_t>(input.output.size()) < params.min_tokens) {
    mask_tokens(row_, params.stop_token_ids);
    if (!params.ignore_eos) mask_tokens(row_, input.eos_ids);
  }
  apply_logit_bias(row_, params.logit_bias);
  apply_repetition_penalty(row_, input.prompt, input.output, params.repetition_penalty, counts_);
  apply_count_penalties(row_, input.output, params.presence_penalty, params.frequency_penalty, counts_);
  const auto best = std::max_element(row_.begin(), row_.end());  // the first of equals
  if (!std::isfinite(*best)) {
    return invalid_argument("min_tokens, logit_bias and penalties leave no token to choose", "min_tokens");
  }
  if (params.temperature < kGreedyBelow) return static_cast<Token>(best - row_.begin());
  return draw(input, *best);
}

Result<Token> Sampler::draw(const SampleInput& input, float highest) {
  const SamplingParams& params = *input.params;
  const double scale = 1.0 / static_cast<double>(params.temperature);
  candidates_.clear();
  for (std::size_t i = 0; i < row_.size(); ++i) {
    const double weight = std::exp((static_cast<double>(row_[i]) - static_cast<double>(highest)) * scale);
    // The likeliest token has weight 1, so min_p compares with the weight itself.
    if (weight > 0.0 && weight >= static_cast<double>(params.min_p)) {
      candidates_.push_back({weight, static_cast<Token>(i)});
    }
  }
  if (params.top_k > 0) keep_top_k(params.top_k);
  if (params.top_p < 1.0f) keep_top_p(static_cast<double>(params.top_p));
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  const auto position = static_cast<std::uint64_t>(input.prompt.size() + input.output.size());
  double left = uniform01(input.seed, static_cast<std::uint64_t>(input.index), position) * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0.0) return candidate.id;
  }
  return candidates_.back().id;  // rounding at the very end of the range
}

// Tokens that tie with the k-th stay, as in vLLM. The order by id is kept.
void Sampler::keep_top_k(std::int32_t top_k) {
  const auto k = static_cast<std::size_t>(top_k);
  if (k >= candidates_.size()) return;
  std::vector<double> weights(candidates_.size());
  std::transform(candidates_.begin(), candidates_.end(), weights.begin(), [](const Candidate& c) { return c.weight; });
  std::nth_element(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(k - 1), weights.end(),
                   [](double a, double b) { return a > b; });
  const double smallest = weights[k - 1];
  std::erase_if(candidates_, [smallest](const Candidate& c) { return c.weight < smallest; });
}

// Keeps the likeliest tokens (ties to the lower id) until their share reaches top_p; at least one.
void Sampler::keep_top_p(double top_p) {
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  const auto better = [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
  };
  const double wanted = top_p * total;
  double mass = 0.0;
  std::size_t kept = 0;
  // A vocabulary is far larger than what top_p keeps: sort it piece by piece until there is enough.
  for (std::size_t sorted = 0; sorted < candidates_.size();) {
    const std::size_t end = std::min(candidates_.size(), std::max<std::size_t>(64, sorted * 4));
    std::partial_sort(candidates_.begin() + static_cast<std::ptrdiff_t>(sorted),
                      candidates_.begin() + static_cast<std::ptrdiff_t>(end), candidates_.end(), better);
    sorted = end;
    while (kept < sorted && (kept == 0 || mass < wanted)) mass += candidates_[kept++].weight;
    if (kept < sorted || mass >= wanted) break;
  }
  candidates_.resize(kept);
}

}  // namespace foregate
