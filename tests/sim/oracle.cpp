#include "tests/sim/oracle.h"

#include "engine/sample/sampler.h"

namespace foregate::sim {
namespace {

class RingState final : public ConstraintState {
 public:
  RingState(std::int32_t least, std::int32_t dead_end) : least_(least), dead_end_(dead_end) {}
  Result<std::span<const std::uint64_t>> allowed() override {
    mask_ = 0;
    for (Token t = 0; t < kVocab && count_ < dead_end_; ++t) {
      const bool may = t == kEos ? count_ >= least_ : (t + count_) % 3 == 0;
      mask_ |= static_cast<std::uint64_t>(may) << t;
    }
    return std::span<const std::uint64_t>(&mask_, 1);
  }
  Status accept(std::int32_t token) override {
    if ((token + count_) % 3 != 0) return internal_error("a token that was not allowed");
    ++count_;
    return {};
  }
  bool complete() const override { return false; }
  std::unique_ptr<ConstraintState> clone() const override { return std::make_unique<RingState>(*this); }

 private:
  std::int32_t least_;
  std::int32_t dead_end_;
  std::int32_t count_ = 0;
  std::uint64_t mask_ = 0;
};

class RingConstraint final : public TokenConstraint {
 public:
  RingConstraint(std::int32_t least, std::int32_t dead_end) : start_(least, dead_end) {}
  std::unique_ptr<ConstraintState> start() const override { return start_.clone(); }

 private:
  RingState start_;
};

}  // namespace

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
  std::uint64_t x = hash ^ (value + 0x9e3779b97f4a7c15ULL + (hash << 6) + (hash >> 2));
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

void fill_logits(std::uint64_t history, std::span<float> row) {
  for (std::size_t v = 0; v < row.size(); ++v) {
    row[v] = static_cast<float>(mix(history, 1'000'003ULL * (v + 1)) >> 40) * (8.0f / (1 << 24)) - 4.0f;
  }
}

Answer answer_of(const Request& request, std::int32_t index) {
  thread_local Sampler sampler(kVocab);
  const Token eos[] = {kEos};
  std::vector<float> row(kVocab);
  Answer answer;
  std::uint64_t history = kNoHistory;
  for (Token token : request.prompt) history = mix(history, static_cast<std::uint64_t>(token));
  auto state = request.constraint == nullptr ? nullptr : request.constraint->start();
  for (;;) {
    fill_logits(history, row);
    SampleInput input;
    input.logits = row;
    input.prompt = request.prompt;
    input.output = answer.tokens;
    input.params = &request.sampling;
    input.eos_ids = eos;
    input.seed = *request.sampling.seed;
    input.index = index;
    if (state != nullptr) input.allowed = *state->allowed();
    const auto sampled = sampler.sample(input);
    if (!sampled.ok()) {
      answer.finish = FinishReason::kError;
      answer.error = sampled.status().code();
      return answer;
    }
    if (sampled->stops) {
      answer.stop_token = sampled->token;
      return answer;
    }
    if (state != nullptr) CHECK(state->accept(sampled->token).ok());
    answer.tokens.push_back(sampled->token);
    history = mix(history, static_cast<std::uint64_t>(sampled->token));
    if (static_cast<std::int32_t>(answer.tokens.size()) < request.sampling.max_tokens) continue;
    answer.finish = FinishReason::kLength;
    return answer;
  }
}

std::shared_ptr<const TokenConstraint> ring_constraint(std::int32_t least, std::int32_t dead_end) {
  return std::make_shared<RingConstraint>(least, dead_end);
}

}  // namespace foregate::sim
