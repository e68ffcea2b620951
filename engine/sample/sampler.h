// One token from one row of logits. The result depends on the row, the sample's own tokens and
// parameters, and (seed, index, position) alone, never on what else is in the batch (INV-9).
// Engine thread; one Sampler per thread, it only holds scratch memory.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/sample/penalties.h"

namespace foregate {

struct SampleInput {
  std::span<const float> logits;  // [vocab_size], raw
  std::span<const Token> prompt;
  std::span<const Token> output;  // so far
  const SamplingParams* params = nullptr;
  std::span<const Token> eos_ids;
  std::uint64_t seed = 0;
  std::int32_t index = 0;  // of n samples; each has its own stream of draws
  // Of a sample whose form is demanded: a bit for each token that may come. Its end ends it whatever ignore_eos says.
  std::optional<std::span<const std::uint64_t>> allowed = {};
};

struct SampledToken {
  Token token = 0;
  bool stops = false;  // an end-of-sequence or stop id: ends the sample and is not part of its text
  std::optional<PositionLogprobs> logprobs;
};

// An end-of-sequence or stop id of the sample.
bool ends_sample(const SampleInput& input, Token token);

class Sampler {
 public:
  explicit Sampler(std::int32_t vocab_size);
  // Order of vLLM: grammar mask, allowed ids, bad words, min_tokens mask, logit_bias, repetition, frequency and
  // presence penalty, then argmax (temperature < 1e-5; ties to the lowest id) or temperature, min_p, top_k, top_p and
  // one draw among the tokens left, in order of their ids. kDataLoss when the row is not finite, kInvalidArgument when
  // no token is left to choose.
  Result<SampledToken> sample(const SampleInput& input);

 private:
  struct Candidate {
    float weight;  // exp((logit - highest) / temperature)
    Token id;
  };
  static std::optional<Token> forced(const SampleInput& input);
  static SampledToken taken(const SampleInput& input, Token token);
  bool change_row(const SampleInput& input);
  Token draw(const SampleInput& input, std::span<const float> row, float highest);
  void weigh(const SamplingParams& params, std::span<const float> row, float highest);
  void keep_top_p(double top_p);

  TokenCounts counts_;
  std::vector<float> row_;  // the row as masks, biases and penalties leave it
  std::vector<float> maxima_;
  std::vector<std::int32_t> indices_;
  std::vector<float> chosen_;
  std::vector<float> weights_;
  std::vector<double> sums_;
  std::vector<Candidate> candidates_;  // in order of their ids
  std::vector<double> mass_;           // by weight class
  std::vector<Candidate> edge_;
};

}  // namespace foregate
