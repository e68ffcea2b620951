// Tokens that come by drafts are drawn from the target's distribution: Pearson's chi-square over a million draws of a
// six-token model, against probabilities worked out here by the rules of sampling, history by history. Drafts are
// random, so some stand and some do not; penalties, logit_bias, min_p, the form of an output and seeds are in play. A
// rule that lets one draft in fifty stand because it was drafted is caught by the same numbers.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>

#include "engine/base/rng.h"
#include "engine/grammar/compile.h"
#include "engine/runtime/accept.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

constexpr std::int32_t kTokens = 6;  // a to f
constexpr Token kEnd = 6;
constexpr std::int32_t kLength = 3;  // tokens of a sample
constexpr std::int64_t kSamples = 340'000;
const std::vector<Token> kPrompt = {2, 0, 3};

// The logits that follow `output`, any numbers that differ from history to history.
std::array<float, kTokens + 1> logits_after(std::span<const Token> output) {
  std::array<float, kTokens + 1> row{};
  std::uint64_t history = 1;
  for (const Token token : output) history = history * 7 + static_cast<std::uint64_t>(token) + 1;
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(uniform01(77, history, i) * 3.0 - 1.5);
  row[static_cast<std::size_t>(kEnd)] = -30.0f;
  return row;
}

// Row k of a step follows the output so far and k tokens of the draft; of a tree, those on the way to it.
class TableModel final : public Model {
 public:
  TableModel(const std::vector<Token>& output, const std::vector<std::int32_t>& parents)
      : output_(output), parents_(parents) {}
  Status forward(const ForwardInput& input, KvCache&, View2<float> logits) override {
    for (std::size_t row = 0; row < input.tokens.size(); ++row) {
      std::vector<Token> history = output_;
      for (std::size_t at = row; at > 0;) {
        history.insert(history.begin() + std::ssize(output_), input.tokens[at]);
        at = parents_.empty() ? at - 1 : static_cast<std::size_t>(parents_[at - 1] + 1);
      }
      const auto values = logits_after(history);
      std::copy(values.begin(), values.end(), logits.data + static_cast<std::int64_t>(row) * logits.stride);
    }
    return {};
  }
  std::int32_t vocab_size() const override { return kTokens + 1; }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override {
    return {.layers = {{KvKind::kFull, 1, 4, 0}}, .type = type, .block_size = block_size};
  }

 private:
  const std::vector<Token>& output_;
  const std::vector<std::int32_t>& parents_;
};

struct Case {
  const char* name;
  SamplingParams sampling;
  std::array<std::uint8_t, kLength> forms = {0x3f, 0x3f, 0x3f};  // tokens that may stand at each place, a bit each
  bool formed = false;
};

// What the rules say of the next token: mask, bias, penalties, temperature, min_p.
std::array<double, kTokens> target(const Case& one, std::span<const Token> output) {
  const SamplingParams& p = one.sampling;
  const auto logits = logits_after(output);
  std::array<double, kTokens> x{};
  double highest = -1e30;
  for (Token t = 0; t < kTokens; ++t) {
    double& value = x[static_cast<std::size_t>(t)] = static_cast<double>(logits[static_cast<std::size_t>(t)]);
    for (const auto& [id, bias] : p.logit_bias) value += id == t ? static_cast<double>(bias) : 0.0;
    const auto used = std::count(output.begin(), output.end(), t);
    const bool seen = used > 0 || std::count(kPrompt.begin(), kPrompt.end(), t) > 0;
    if (seen) value = value > 0 ? value / p.repetition_penalty : value * p.repetition_penalty;
    value -= p.frequency_penalty * static_cast<double>(used) + (used > 0 ? p.presence_penalty : 0.0f);
    if ((one.forms[output.size()] >> t & 1) == 0) value = -1e30;
    highest = std::max(highest, value);
  }
  double sum = 0.0;
  for (double& value : x) {
    value = std::exp((value - highest) / p.temperature);
    if (value < p.min_p) value = 0.0;
    sum += value;
  }
  for (double& value : x) value /= sum;
  return x;
}

std::shared_ptr<const TokenConstraint> form_of(const Case& one) {
  if (!one.formed) return nullptr;
  std::string regex;
  for (const std::uint8_t form : one.forms) {
    regex += '[';
    for (int t = 0; t < kTokens; ++t) regex += (form >> t & 1) != 0 ? std::string(1, static_cast<char>('a' + t)) : "";
    regex += ']';
  }
  grammar::Vocabulary vocabulary;
  for (int t = 0; t < kTokens; ++t) vocabulary.tokens.push_back(std::string(1, static_cast<char>('a' + t)));
  vocabulary.tokens.push_back("");
  vocabulary.end_ids = {kEnd};
  static GrammarCompiler compiler{vocabulary};
  auto made = compiler.compile({GrammarSpec::Kind::kRegex, regex + "[a-f]{4}"});
  CHECK(made.ok());
  return *made;
}

struct Drawn {
  std::map<std::vector<Token>, std::int64_t> counts;
  std::int64_t tokens = 0;
  std::int64_t drafted = 0;
  std::int64_t stood = 0;
};

// Samples drawn step by step through accept_entry(), each step with a random draft.
class Draws {
 public:
  // `trees`: drafts have two tokens at every place.
  explicit Draws(const Case& one, bool trees = false)
      : trees_(trees),
        runner_(std::make_unique<TableModel>(output_, parents_), host_device(), cache()),
        sampler_(kTokens + 1) {
    Request request = make_request(1, kPrompt, kLength);
    request.sampling = one.sampling;
    request.sampling.max_tokens = kLength;
    request.constraint = form_of(one);
    request_ = std::make_shared<const Request>(std::move(request));
  }

  std::vector<Token> sample(std::uint64_t seed, Drawn& drawn) {
    Sequence seq;
    seq.request = request_;
    seq.seed = seed;
    seq.tokens = kPrompt;
    if (request_->constraint != nullptr) seq.constraint = request_->constraint->start();
    for (bool ended = false; !ended;) ended = step(seq, drawn);
    return {seq.output().begin(), seq.output().end()};
  }

 private:
  static KvCache cache() {
    auto made = KvCache::create(host_device(), {.layers = {{KvKind::kFull, 1, 4, 0}}}, 1);
    CHECK(made.ok());
    return std::move(made).value();
  }

  template <class Pick>
  void grow(std::int32_t parent, std::int32_t depth, const Pick& pick, std::vector<Token>& draft) {
    if (depth == 0) return;
    const Token first = pick();
    for (const Token token : {first, (first + 1) % kTokens}) {
      draft.push_back(token);
      parents_.push_back(parent);
      grow(static_cast<std::int32_t>(draft.size()) - 1, depth - 1, pick, draft);
    }
  }

  bool step(Sequence& seq, Drawn& drawn) {
    output_.assign(seq.output().begin(), seq.output().end());
    const auto left = kLength - static_cast<std::int32_t>(output_.size()) - 1;
    const auto draw = [&](std::uint64_t what) { return uniform01(seq.seed ^ 0xabcdef, what, output_.size()); };
    const auto length = std::min(left, static_cast<std::int32_t>(draw(0) * (kLength + 1)));
    seq.draft.clear();
    parents_.clear();
    const auto token = [&] {
      const double u = draw(seq.draft.size() + 1);
      return static_cast<Token>(u * u * kTokens);  // low ids more often
    };
    for (std::int32_t k = 0; k < length && !trees_; ++k) seq.draft.push_back(token());
    if (trees_) grow(-1, length, token, seq.draft);
    seq.draft_parents = parents_;
    const auto nodes = static_cast<std::int32_t>(seq.draft.size());
    io_.tokens = {seq.tokens.back()};
    io_.tokens.insert(io_.tokens.end(), seq.draft.begin(), seq.draft.end());
    io_.logit_rows.resize(io_.tokens.size());
    CHECK(runner_.run(io_).ok());
    const auto position = static_cast<std::int32_t>(seq.tokens.size()) - 1;
    const PlanEntry entry{.seq = {}, .first_position = position, .rows = 1 + nodes, .draft = nodes, .samples = true};
    const LogitRange range{.first = 0, .rows = 1 + nodes, .first_position = position};
    const std::array<Token, 1> ends = {kEnd};
    auto event = accept_entry(entry, range, runner_, {}, ends, sampler_, seq);
    CHECK(event.ok() && event->has_value());
    drawn.tokens += static_cast<std::int64_t>((*event)->tokens.size());
    drawn.drafted += nodes;
    drawn.stood += seq.computed - position - 1;
    return (*event)->finish.has_value();
  }

  const bool trees_;
  std::vector<Token> output_;
  std::vector<std::int32_t> parents_;
  StepRunner runner_;
  Sampler sampler_;
  StepIo io_;
  std::shared_ptr<const Request> request_;
};

struct Fit {
  double statistic = 0.0;
  double limit = 0.0;  // that one sound run in ten thousand passes
  int cells = 0;
  std::int64_t impossible = 0;  // samples of probability 0
};

// Wilson and Hilferty's approximation of the chi-square distribution.
double limit_of(double freedom) {
  const double part = 2.0 / (9.0 * freedom);
  return freedom * std::pow(1.0 - part + 3.719 * std::sqrt(part), 3.0);
}

Fit fit(const Case& one, const std::map<std::vector<Token>, std::int64_t>& counts) {
  Fit out;
  double rest_expected = 0.0;
  double rest_seen = 0.0;
  for (int code = 0; code < kTokens * kTokens * kTokens; ++code) {
    const std::vector<Token> tokens = {code % kTokens, code / kTokens % kTokens, code / kTokens / kTokens};
    double expected = static_cast<double>(kSamples);
    for (std::size_t k = 0; k < tokens.size(); ++k) {
      expected *= target(one, std::span(tokens).first(k))[static_cast<std::size_t>(tokens[k])];
    }
    const auto found = counts.find(tokens);
    const double seen = found == counts.end() ? 0.0 : static_cast<double>(found->second);
    if (expected == 0.0) {
      out.impossible += static_cast<std::int64_t>(seen);
    } else if (expected < 8.0) {
      rest_expected += expected;
      rest_seen += seen;
    } else {
      out.statistic += (seen - expected) * (seen - expected) / expected;
      ++out.cells;
    }
  }
  if (rest_expected >= 1.0) {
    out.statistic += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
    ++out.cells;
  }
  out.limit = limit_of(out.cells - 1);
  return out;
}

SamplingParams sampling(float temperature, float min_p, float repetition, float presence, float frequency,
                        std::vector<std::pair<Token, float>> bias) {
  SamplingParams params;
  params.temperature = temperature;
  params.min_p = min_p;
  params.repetition_penalty = repetition;
  params.presence_penalty = presence;
  params.frequency_penalty = frequency;
  params.logit_bias = std::move(bias);
  return params;
}

std::vector<Case> cases() {
  return {{.name = "seeds alone", .sampling = sampling(1.0f, 0.0f, 1.0f, 0.0f, 0.0f, {})},
          {.name = "penalties, bias and min_p",
           .sampling = sampling(0.8f, 0.06f, 1.3f, 0.4f, 0.3f, {{1, 0.7f}, {4, -0.9f}})},
          {.name = "a form, penalties, bias and min_p",
           .sampling = sampling(1.1f, 0.04f, 1.2f, -0.3f, 0.5f, {{0, 0.5f}, {3, -0.4f}}),
           .forms = {0b011111, 0b111010, 0b001111},
           .formed = true}};
}

TEST(DraftSampling, OfTreesIsOfTheTargetsDistribution) {
  const Case one = cases().back();
  Drawn drawn;
  Draws draws(one, true);
  for (std::int64_t i = 0; i < kSamples; ++i) ++drawn.counts[draws.sample(static_cast<std::uint64_t>(i), drawn)];
  EXPECT_GE(drawn.tokens, 1'000'000);
  EXPECT_GT(drawn.stood, drawn.drafted / 20);
  const Fit sound = fit(one, drawn.counts);
  EXPECT_EQ(sound.impossible, 0);
  EXPECT_GT(sound.cells, 50);
  EXPECT_LT(sound.statistic, sound.limit) << sound.cells << " cells";
  std::printf("trees: %lld draws, %lld of %lld drafted stood, chi-square %.1f of %d cells, limit %.1f\n",
              static_cast<long long>(drawn.tokens), static_cast<long long>(drawn.stood),
              static_cast<long long>(drawn.drafted), sound.statistic, sound.cells, sound.limit);
}

TEST(DraftSampling, IsOfTheTargetsDistribution) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    Drawn drawn;
    Draws draws(one);
    for (std::int64_t i = 0; i < kSamples; ++i) ++drawn.counts[draws.sample(static_cast<std::uint64_t>(i), drawn)];
    EXPECT_GE(drawn.tokens, 1'000'000);
    EXPECT_GT(drawn.stood, drawn.drafted / 20);
    EXPECT_LT(drawn.stood, drawn.drafted / 2);
    const Fit sound = fit(one, drawn.counts);
    EXPECT_EQ(sound.impossible, 0);
    EXPECT_GT(sound.cells, 50);
    EXPECT_LT(sound.statistic, sound.limit) << sound.cells << " cells";
    std::printf("%s: %lld draws, %lld of %lld drafted stood, chi-square %.1f of %d cells, limit %.1f\n", one.name,
                static_cast<long long>(drawn.tokens), static_cast<long long>(drawn.stood),
                static_cast<long long>(drawn.drafted), sound.statistic, sound.cells, sound.limit);
    // As if one first token in fifty stood because it was the draft's.
    std::map<std::vector<Token>, std::int64_t> biased;
    for (const auto& [tokens, count] : drawn.counts) {
      const std::int64_t moved = tokens[0] == 0 ? 0 : count / 50;
      std::vector<Token> to = tokens;
      to[0] = 0;
      biased[tokens] += count - moved;
      biased[to] += moved;
    }
    const Fit wrong = fit(one, biased);
    EXPECT_GT(wrong.statistic, wrong.limit);
  }
}

}  // namespace
}  // namespace foregate
