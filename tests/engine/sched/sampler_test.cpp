// Sampling against plain restatements of its rules.
#include "engine/sample/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "engine/base/rng.h"
#include "engine/sample/logit_row.h"
#include "engine/sample/logprobs.h"
#include "engine/sample/penalties.h"
#include "engine/sample/token_rules.h"

namespace foregate {
namespace {

std::vector<float> random_row(std::uint64_t seed, std::size_t size, double spread = 8.0) {
  std::vector<float> row;
  for (std::size_t i = 0; i < size; ++i) row.push_back(static_cast<float>((uniform01(seed, 5, i) - 0.5) * spread));
  return row;
}

struct Draw {
  std::vector<float> row;
  SamplingParams params;
  std::vector<Token> prompt = {0};
  std::vector<Token> output;
  std::vector<Token> eos;
  std::uint64_t seed = 1;
  std::int32_t index = 0;
  Result<SampledToken> operator()() const {
    Sampler sampler(static_cast<std::int32_t>(row.size()));
    SampleInput input;
    input.logits = row;
    input.prompt = prompt;
    input.output = output;
    input.params = &params;
    input.eos_ids = eos;
    input.seed = seed;
    input.index = index;
    return sampler.sample(input);
  }
};

Draw greedy(std::vector<float> row) {
  Draw draw;
  draw.row = std::move(row);
  draw.params.temperature = 0.0f;
  return draw;
}

// The set that a draw may come from, seen by drawing often.
std::map<Token, int> tally(Draw draw, int draws) {
  std::map<Token, int> counts;
  Sampler sampler(static_cast<std::int32_t>(draw.row.size()));
  for (int i = 0; i < draws; ++i) {
    SampleInput input;
    input.logits = draw.row;
    input.prompt = draw.prompt;
    input.params = &draw.params;
    input.seed = static_cast<std::uint64_t>(i);
    ++counts[sampler.sample(input)->token];
  }
  return counts;
}

std::vector<double> softmax(const std::vector<float>& row, double temperature) {
  std::vector<double> p;
  const double highest = *std::max_element(row.begin(), row.end());
  for (float x : row) p.push_back(std::exp((x - highest) / temperature));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= total;
  return p;
}

TEST(Greedy, TiesGoToTheLowestId) {
  EXPECT_EQ(greedy({1, 3, 2, 3})()->token, 1);
  EXPECT_EQ(greedy({0, 0, 0})()->token, 0);
}

TEST(Penalties, RepetitionCoversPromptAndOutputOnce) {
  std::vector<float> row = {2.0f, -2.0f, 4.0f, 1.0f};
  TokenCounts counts(4);
  const std::vector<Token> prompt = {0, 0, 1};
  const std::vector<Token> output = {2, 0};
  apply_repetition_penalty(row, prompt, output, 2.0f, counts);
  EXPECT_EQ(row, (std::vector<float>{1.0f, -4.0f, 2.0f, 1.0f}));
  std::vector<float> again = {2.0f, -2.0f, 4.0f, 1.0f};
  apply_repetition_penalty(again, prompt, output, 2.0f, counts);
  EXPECT_EQ(again, row) << "the scratch counts were left dirty";
}

TEST(Penalties, CountsAreOfTheOutput) {
  std::vector<float> row = {1.0f, 1.0f, 1.0f};
  TokenCounts counts(3);
  const std::vector<Token> output = {1, 1, 1, 2};
  apply_count_penalties(row, output, 0.5f, 0.25f, counts);
  EXPECT_EQ(row, (std::vector<float>{1.0f, 1.0f - 0.75f - 0.5f, 1.0f - 0.25f - 0.5f}));
  apply_count_penalties(row, {}, 2.0f, 2.0f, counts);
  EXPECT_EQ(row[0], 1.0f);
}

TEST(Penalties, BiasChangesTheChoice) {
  Draw draw = greedy({1, 2, 3});
  draw.params.logit_bias = {{0, 5.0f}};
  EXPECT_EQ(draw()->token, 0);
  draw.params.logit_bias = {{2, -100.0f}};
  EXPECT_EQ(draw()->token, 1);
}

TEST(MinTokens, EndIdsWaitUntilReached) {
  Draw draw = greedy({1, 2, 9, 8});
  draw.eos = {2};
  draw.params.stop_token_ids = {3};
  EXPECT_TRUE(draw()->stops);
  draw.params.min_tokens = 2;
  EXPECT_EQ(draw()->token, 1);
  EXPECT_FALSE(draw()->stops);
  draw.output = {1, 1};
  EXPECT_EQ(draw()->token, 2);
  EXPECT_TRUE(draw()->stops);
  draw.params.ignore_eos = true;
  EXPECT_EQ(draw()->token, 2);
  EXPECT_FALSE(draw()->stops);
}

TEST(MinTokens, NoTokenLeftIsAnError) {
  Draw draw = greedy({1, 2});
  draw.eos = {0, 1};
  draw.params.min_tokens = 1;
  EXPECT_EQ(draw().status().code(), Code::kInvalidArgument);
}

TEST(NonFinite, IsRefused) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(greedy({1, bad, 3})().status().code(), Code::kDataLoss);
    EXPECT_FALSE(all_finite(std::vector<float>{0, bad}));
  }
  EXPECT_TRUE(all_finite(std::vector<float>{0, 3e38f, -1e-45f}));
}

TEST(Draws, FollowSoftmaxOfTheTemperature) {
  Draw draw;
  draw.row = {0.0f, 1.0f, 2.0f, -1.0f};
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    draw.params.temperature = temperature;
    const int n = 20000;
    const auto counts = tally(draw, n);
    const auto p = softmax(draw.row, temperature);
    for (Token t = 0; t < 4; ++t) {
      const double deviation = 5 * std::sqrt(p[t] * (1 - p[t]) / n);  // five sigma
      const double seen = counts.count(t) ? static_cast<double>(counts.at(t)) / n : 0.0;
      EXPECT_NEAR(seen, p[t], deviation) << t << " at " << temperature;
    }
  }
}

TEST(Draws, DependOnSeedIndexAndPositionAlone) {
  Draw draw;
  draw.row = random_row(1, 500, 1.0);
  draw.prompt = {1, 2, 3};
  const Token first = draw()->token;
  EXPECT_EQ(draw()->token, first);
  Draw moved = draw;  // the same position reached with other tokens
  moved.prompt = {9};
  moved.output = {8, 7};
  EXPECT_EQ(moved()->token, first);
  const auto differs = [&](auto change) {
    int differing = 0;
    for (int i = 1; i <= 20; ++i) {
      Draw other = draw;
      change(other, i);
      differing += other()->token != first ? 1 : 0;
    }
    return differing;
  };
  EXPECT_GE(differs([](Draw& d, int i) { d.seed += static_cast<std::uint64_t>(i); }), 18);
  EXPECT_GE(differs([](Draw& d, int i) { d.index = i; }), 18);
  EXPECT_GE(differs([](Draw& d, int i) { d.output.assign(static_cast<std::size_t>(i), 0); }), 18);
}

TEST(TopK, KeepsTheBestAndTheirTies) {
  Draw draw;
  draw.row = {1.0f, 5.0f, 4.0f, 4.0f, 0.0f};
  draw.params.temperature = 10.0f;
  const auto kept = [&](std::int32_t k) {
    draw.params.top_k = k;
    std::vector<Token> ids;
    for (const auto& [id, count] : tally(draw, 2000)) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(kept(1), (std::vector<Token>{1}));
  EXPECT_EQ(kept(2), (std::vector<Token>{1, 2, 3}));
  EXPECT_EQ(kept(4), (std::vector<Token>{0, 1, 2, 3}));
  EXPECT_EQ(kept(0).size(), 5u);
  EXPECT_EQ(kept(-1).size(), 5u);
  EXPECT_EQ(kept(1000).size(), 5u);
}

TEST(MinP, ComparesWithTheLikeliest) {
  Draw draw;
  draw.row = {0.0f, static_cast<float>(std::log(0.5)), static_cast<float>(std::log(0.09))};
  draw.params.min_p = 0.1f;
  const auto counts = tally(draw, 3000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts.count(2), 0u);
}

// A slow and plain top_p: sort everything, keep while the mass before is below top_p.
std::vector<Token> plain_top_p(const std::vector<float>& row, double top_p) {
  const auto p = softmax(row, 1.0);
  std::vector<Token> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](Token a, Token b) { return row[a] > row[b]; });
  double mass = 0.0;
  std::size_t kept = 0;
  while (kept < ids.size() && (kept == 0 || mass < top_p)) mass += p[static_cast<std::size_t>(ids[kept++])];
  ids.resize(kept);
  return ids;
}

TEST(TopP, KeepsWhatThePlainRuleKeeps) {
  for (double top_p : {0.01, 0.3, 0.7, 0.95}) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      Draw draw;
      draw.row = random_row(seed, 12, 6.0);
      draw.params.top_p = static_cast<float>(top_p);
      std::vector<Token> want = plain_top_p(draw.row, top_p);
      std::sort(want.begin(), want.end());
      std::vector<Token> got;
      for (const auto& [id, count] : tally(draw, 5000)) got.push_back(id);
      EXPECT_TRUE(std::includes(want.begin(), want.end(), got.begin(), got.end())) << top_p << " " << seed;
      EXPECT_GE(got.size() + 1, want.size());  // the least likely may not turn up
    }
  }
}

TEST(TopP, LargeVocabulariesAreCutAtTheSamePlace) {
  Draw draw;
  draw.row = random_row(3, 5000, 4.0);
  for (double top_p : {0.1, 0.5, 0.9, 0.999}) {
    draw.params.top_p = static_cast<float>(top_p);
    std::vector<Token> kept = plain_top_p(draw.row, draw.params.top_p);
    std::sort(kept.begin(), kept.end());
    // The draw walks the kept tokens in order of their ids, so it can be restated.
    const auto p = softmax(draw.row, 1.0);
    double total = 0.0;
    for (Token id : kept) total += p[static_cast<std::size_t>(id)];
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      draw.seed = seed;
      double left = uniform01(seed, 0, 1) * total;
      Token want = kept.back();
      for (Token id : kept) {
        left -= p[static_cast<std::size_t>(id)];
        if (left < 0.0) {
          want = id;
          break;
        }
      }
      EXPECT_EQ(draw()->token, want) << top_p << " " << seed;
    }
  }
}

TEST(Logprobs, AreTheLogSoftmaxOfRawLogits) {
  const std::vector<float> row = random_row(9, 200);
  const auto p = softmax(row, 1.0);
  const PositionLogprobs got = position_logprobs(row, 17, 5);
  EXPECT_NEAR(got.chosen.logprob, std::log(p[17]), 1e-6);
  ASSERT_EQ(got.top.size(), 5u);
  std::vector<double> sorted = p;
  std::sort(sorted.rbegin(), sorted.rend());
  for (std::size_t i = 0; i < 5; ++i) EXPECT_NEAR(got.top[i].logprob, std::log(sorted[i]), 1e-6);
  EXPECT_EQ(position_logprobs(std::vector<float>{1, 1, 1}, 2, 2).top[1].token, 1) << "ties to the lower id";
  EXPECT_EQ(position_logprobs(row, 0, 0).top.size(), 0u);
  EXPECT_EQ(position_logprobs(row, 0, 1000).top.size(), 200u);
}

TEST(Logprobs, PenaltiesDoNotShow) {
  Draw draw = greedy(random_row(4, 50));
  draw.params.logprobs = 1;
  draw.params.logit_bias = {{7, 100.0f}};
  const auto sampled = draw();
  EXPECT_EQ(sampled->token, 7);
  EXPECT_EQ(sampled->logprobs->chosen.logprob, position_logprobs(draw.row, 7, 0).chosen.logprob);
  EXPECT_NE(sampled->logprobs->top[0].token, 7);
}

TEST(Sampler, OnlyAllowedIdsCome) {
  Draw draw;
  draw.row = random_row(3, 200);
  draw.params.allowed_token_ids = {150, 7, 150, 33};
  const std::map<Token, int> seen = tally(draw, 400);
  for (const auto& [token, count] : seen) EXPECT_TRUE(token == 150 || token == 7 || token == 33) << token;
  EXPECT_GT(seen.size(), 1u);
  draw.params.logit_bias = {{33, 100.0f}, {34, 100.0f}};
  EXPECT_EQ(draw().value().token, 33);
}

TEST(Sampler, BadWordsAreNeverCompleted) {
  Draw draw = greedy({0.0f, 1.0f, 5.0f, 4.0f});
  draw.params.bad_words = {{2}};
  EXPECT_EQ(draw().value().token, 3);
  draw.params.bad_words = {{1, 0, 2}};
  for (const auto& [output, token] :
       std::map<std::vector<Token>, Token>{{{}, 2}, {{1, 0}, 3}, {{0, 1, 0}, 3}, {{1, 0, 0}, 2}, {{0}, 2}}) {
    draw.output = output;
    EXPECT_EQ(draw().value().token, token) << output.size();
  }
}

TEST(Sampler, ThinkingEndsWithItsBudget) {
  Draw draw = greedy({9.0f, 0.0f, 0.0f, 0.0f});
  draw.params.logprobs = 0;
  draw.params.thinking = ThinkingBudget{.tokens = 2, .open = {1}, .close = {2, 3}, .begun = true};
  const auto next = [&](std::vector<Token> output) {
    draw.output = std::move(output);
    return draw().value().token;
  };
  EXPECT_EQ(next({0}), 0);
  EXPECT_EQ(next({0, 0}), 2);
  EXPECT_EQ(next({0, 0, 2}), 3);
  EXPECT_EQ(next({0, 0, 2, 3}), 0);
  EXPECT_EQ(next({2, 3}), 0) << "it ended by itself";
  EXPECT_EQ(draw().value().logprobs->rank, 1);
  draw.params.thinking->begun = false;
  EXPECT_EQ(next({0, 0, 0}), 0) << "it never began";
  EXPECT_EQ(next({0, 1, 0, 0}), 2);
  EXPECT_EQ(draw().value().logprobs->rank, 3) << "of equals the lower ids go first";
  draw.params.thinking->tokens = 0;
  EXPECT_EQ(next({1}), 2);
}

}  // namespace
}  // namespace foregate
