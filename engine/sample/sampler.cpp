#include "engine/sample/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/base/rng.h"
#include "engine/sample/grammar_mask.h"
#include "engine/sample/logit_row.h"
#include "engine/sample/logprobs.h"
#include "engine/sample/token_rules.h"

namespace foregate {
namespace {

constexpr float kGreedyBelow = 1e-5f;

bool contains(std::span<const Token> ids, Token id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

double uniform_draw(const SampleInput& input) {
  const auto position = static_cast<std::uint64_t>(input.prompt.size() + input.output.size());
  return uniform01(input.seed, static_cast<std::uint64_t>(input.index), position);
}

// Weights lie in [0, 1]: the upper half of their bits orders them, 128 classes to each power of two.
constexpr std::size_t kWeightClasses = 0x3f80 + 1;
std::size_t weight_class(float weight) {
  return std::bit_cast<std::uint32_t>(weight) >> 16;
}

// One token of all, `share` of the way through their weights: a block by its sum, then a token of it.
Token pick_of_all(std::span<const float> weights, std::span<const double> sums, double share) {
  double total = 0.0;
  for (const double sum : sums) total += sum;
  double left = share * total;
  Token last = 0;
  for (std::size_t b = 0; b < sums.size(); ++b) {
    if (sums[b] == 0.0) continue;
    const std::size_t first = b * kLogitBlock;
    const std::size_t end = std::min(weights.size(), first + kLogitBlock);
    if (left < sums[b]) {
      for (std::size_t i = first; i < end; ++i) {
        left -= static_cast<double>(weights[i]);
        if (left < 0.0) return static_cast<Token>(i);
      }
      left = 0.0;  // rounding between a block and its tokens: the next block begins
    } else {
      left -= sums[b];
    }
    for (std::size_t i = first; i < end; ++i) last = weights[i] > 0.0f ? static_cast<Token>(i) : last;
  }
  return last;  // rounding at the very end of the range
}

}  // namespace

bool ends_sample(const SampleInput& input, Token token) {
  const SamplingParams& params = *input.params;
  return contains(params.stop_token_ids, token) ||
         ((!params.ignore_eos || input.allowed) && contains(input.eos_ids, token));
}

Sampler::Sampler(std::int32_t vocab_size) : counts_(vocab_size) {}

Result<SampledToken> Sampler::sample(const SampleInput& input) {
  if (!all_finite(input.logits)) return data_loss("the model gave logits that are not finite numbers");
  const SamplingParams& params = *input.params;
  if (const std::optional<Token> must = forced(input)) return taken(input, *must);
  const std::span<const float> row = change_row(input) ? std::span<const float>(row_) : input.logits;
  block_maxima(row, maxima_);
  const std::size_t best = first_greatest(row, maxima_);
  if (!std::isfinite(row[best])) {
    return invalid_argument(
        "min_tokens, logit_bias, bad_words, allowed_token_ids and the form of the output leave no token to choose",
        "min_tokens");
  }
  return taken(input, params.temperature < kGreedyBelow ? static_cast<Token>(best) : draw(input, row, row[best]));
}

SampledToken Sampler::taken(const SampleInput& input, Token token) {
  SampledToken result{token, ends_sample(input, token), std::nullopt};
  if (input.params->logprobs) result.logprobs = position_logprobs(input.logits, token, *input.params->logprobs);
  return result;
}

// A form that does not allow it goes before: it has an end of its own.
std::optional<Token> Sampler::forced(const SampleInput& input) {
  if (!input.params->thinking) return std::nullopt;
  const std::optional<Token> token = forced_token(*input.params->thinking, input.output);
  if (!token || !input.allowed) return token;
  const auto at = static_cast<std::size_t>(*token);
  const bool fits = at / 64 < input.allowed->size() && ((*input.allowed)[at / 64] >> (at % 64) & 1) != 0;
  return fits ? token : std::nullopt;
}

// False when the parameters leave every row as it is; else row_ holds the changed one.
bool Sampler::change_row(const SampleInput& input) {
  const SamplingParams& params = *input.params;
  const bool ends_wait = static_cast<std::int64_t>(input.output.size()) < params.min_tokens;
  if (!input.allowed && !ends_wait && params.logit_bias.empty() && params.allowed_token_ids.empty() &&
      params.bad_words.empty() && params.repetition_penalty == 1.0f && params.presence_penalty == 0.0f &&
      params.frequency_penalty == 0.0f) {
    return false;
  }
  row_.assign(input.logits.begin(), input.logits.end());
  if (input.allowed) apply_mask(row_, *input.allowed);
  if (!params.allowed_token_ids.empty()) keep_only(row_, params.allowed_token_ids);
  mask_bad_words(row_, input.output, params.bad_words);
  if (ends_wait) {
    mask_tokens(row_, params.stop_token_ids);
    if (!params.ignore_eos || input.allowed) mask_tokens(row_, input.eos_ids);
  }
  apply_logit_bias(row_, params.logit_bias);
  apply_repetition_penalty(row_, input.prompt, input.output, params.repetition_penalty, counts_);
  apply_count_penalties(row_, input.output, params.presence_penalty, params.frequency_penalty, counts_);
  return true;
}

Token Sampler::draw(const SampleInput& input, std::span<const float> row, float highest) {
  const SamplingParams& params = *input.params;
  const bool few = params.top_k > 0 && static_cast<std::size_t>(params.top_k) < row.size();
  if (few) {  // tokens that tie with the k-th stay, as in vLLM
    greatest_with_ties(row, maxima_, static_cast<std::size_t>(params.top_k), indices_);
    weigh(params, row, highest);
  } else if (params.min_p > 0.0f) {
    at_least(row, maxima_, highest + params.temperature * (std::log(params.min_p) - 0.01f), indices_);
    weigh(params, row, highest);
  } else {
    exp_weights(row, highest, 1.0f / params.temperature, weights_, sums_);
    if (params.top_p >= 1.0f) return pick_of_all(weights_, sums_, uniform_draw(input));
    candidates_.clear();
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (weights_[i] > 0.0f) candidates_.push_back({weights_[i], static_cast<Token>(i)});
    }
  }
  if (params.top_p < 1.0f) keep_top_p(static_cast<double>(params.top_p));
  double total = 0.0;
  for (const Candidate& candidate : candidates_) total += static_cast<double>(candidate.weight);
  double left = uniform_draw(input) * total;
  for (const Candidate& candidate : candidates_) {
    left -= static_cast<double>(candidate.weight);
    if (left < 0.0) return candidate.id;
  }
  return candidates_.back().id;  // rounding at the very end of the range
}

// Weights of the tokens in indices_; the likeliest has weight 1, so min_p compares with the weight itself.
void Sampler::weigh(const SamplingParams& params, std::span<const float> row, float highest) {
  chosen_.clear();
  for (const std::int32_t id : indices_) chosen_.push_back(row[static_cast<std::size_t>(id)]);
  exp_weights(chosen_, highest, 1.0f / params.temperature, weights_, sums_);
  candidates_.clear();
  for (std::size_t i = 0; i < indices_.size(); ++i) {
    if (weights_[i] > 0.0f && weights_[i] >= params.min_p) candidates_.push_back({weights_[i], indices_[i]});
  }
}

// Keeps the likeliest tokens (ties to the lower id) until their share reaches top_p; at least one. The mass of each
// class of weights tells in which class that is; only its tokens need sorting.
void Sampler::keep_top_p(double top_p) {
  mass_.assign(kWeightClasses, 0.0);
  double total = 0.0;
  for (const Candidate& candidate : candidates_)
    mass_[weight_class(candidate.weight)] += static_cast<double>(candidate.weight);
  for (const double mass : mass_) total += mass;
  const double wanted = top_p * total;
  double mass = 0.0;
  std::size_t last = kWeightClasses - 1;
  while (last > 0 && (mass_[last] == 0.0 || mass + mass_[last] < wanted)) mass += mass_[last--];

  edge_.clear();
  for (const Candidate& candidate : candidates_) {
    if (weight_class(candidate.weight) == last) edge_.push_back(candidate);
  }
  std::stable_sort(edge_.begin(), edge_.end(),
                   [](const Candidate& a, const Candidate& b) { return a.weight > b.weight; });
  std::size_t kept = 0;
  while (kept < edge_.size() && (kept == 0 || mass < wanted)) mass += static_cast<double>(edge_[kept++].weight);
  const Candidate least = edge_[kept - 1];
  std::erase_if(candidates_, [&least](const Candidate& c) {
    return c.weight < least.weight || (c.weight == least.weight && c.id > least.id);
  });
}

}  // namespace foregate
