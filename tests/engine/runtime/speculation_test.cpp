// Speculative = plain, byte for byte, over the stub model, whose logits change with any row that should have been
// forgotten. The drafter knows the answers and errs where it is told to, so that every test proves by counters that
// drafts were accepted and rejected.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>

#include "engine/base/metrics.h"
#include "engine/base/rng.h"
#include "engine/spec/ngram_drafter.h"
#include "engine/spec/suffix_drafter.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

// Drafts what the stub will answer, `wrong` of the tokens changed, in drafts of uneven length.
class OracleDrafter final : public Drafter {
 public:
  OracleDrafter(const std::vector<Request>& requests, double wrong) : wrong_(wrong) {
    for (const Request& request : requests) {
      std::vector<SampleLog>& answers = answers_[request.id.value];
      for (std::int32_t index = 0; index < request.n; ++index) {
        answers.push_back(expected_answer(request, index));
        if (answers.back().stop_token >= 0) answers.back().tokens.push_back(answers.back().stop_token);
      }
      prompts_[request.id.value] = request.prompt.size();
    }
  }

  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override {
    for (std::size_t i = 0; i < asks.size(); ++i) {
      const std::uint64_t id = asks[i].request.value;
      const std::vector<Token>& answer = answers_.at(id)[static_cast<std::size_t>(asks[i].index)].tokens;
      const std::size_t at = asks[i].tokens.size() - prompts_.at(id);
      const bool perfect = wrong_ == 0.0;
      const auto length = static_cast<std::size_t>(asks[i].most);
      const auto most = perfect ? length : static_cast<std::size_t>(uniform01(id, 5, at) * (asks[i].most + 1));
      for (std::size_t k = at; k < std::min(answer.size(), at + most); ++k) {
        const bool wrong = uniform01(id, 6, k) < wrong_;
        drafts[i].tokens.push_back(wrong ? (answer[k] + 1) % kVocab : answer[k]);
      }
    }
  }

 private:
  double wrong_;
  std::map<std::uint64_t, std::vector<SampleLog>> answers_;
  std::map<std::uint64_t, std::size_t> prompts_;
};

std::unique_ptr<Model> stub() {
  return std::make_unique<StubModel>(kVocab);
}

std::vector<Request> requests_for_axes() {
  return mixed_requests(3, 32, kVocab, 1, 70, 40);
}

EngineSetup with_oracle(const std::vector<Request>& requests, double wrong = 0.3) {
  EngineSetup setup;
  setup.drafter = [requests, wrong] { return std::make_unique<OracleDrafter>(requests, wrong); };
  return setup;
}

const RunResult& alone() {
  static const RunResult result = [] {
    EngineSetup setup;
    setup.options.max_num_batched_tokens = 128;
    return run_requests(setup, stub, requests_for_axes(), Arrival::kOneByOne);
  }();
  return result;
}

void expect_both(const EngineStats& stats) {
  ASSERT_TRUE(stats.speculation.has_value());
  EXPECT_GT(stats.speculation->drafts, 0u);
  EXPECT_GT(stats.speculation->accepted_tokens, 0u);
  EXPECT_LT(stats.speculation->accepted_tokens, stats.speculation->draft_tokens);
  std::uint64_t by_place = 0;
  for (const std::uint64_t count : stats.speculation->accepted_at) by_place += count;
  EXPECT_EQ(by_place, stats.speculation->accepted_tokens);
}

void expect_same(const RunResult& plain, const RunResult& run) {
  ASSERT_TRUE(plain.ended && run.ended);
  const Difference difference = compare_runs(plain, run);
  EXPECT_EQ(difference.answers, 0);
  EXPECT_EQ(difference.logits, 0);
  EXPECT_EQ(difference.compared, static_cast<std::int64_t>(plain.record->rows.size()));
  EXPECT_EQ(run.stats.kv_blocks_used, 0);
  EXPECT_EQ(run.stats.failed, plain.stats.failed);
}

class SpeculativeWidth : public ::testing::TestWithParam<int> {};
TEST_P(SpeculativeWidth, EqualsPlain) {
  EngineSetup setup = with_oracle(requests_for_axes());
  setup.options.max_num_seqs = GetParam();
  setup.num_blocks = 2048;
  for (Arrival arrival : {Arrival::kTogether, Arrival::kRandom, Arrival::kOneByOne}) {
    const RunResult run = run_requests(setup, stub, requests_for_axes(), arrival, 11);
    expect_same(alone(), run);
    expect_both(run.stats);
    EXPECT_EQ(run.stats.batched_steps > 0, GetParam() > 1 && arrival != Arrival::kOneByOne);
  }
}
INSTANTIATE_TEST_SUITE_P(Speculation, SpeculativeWidth, ::testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 32));

class SpeculativeChunk : public ::testing::TestWithParam<int> {};
TEST_P(SpeculativeChunk, EqualsPlain) {
  EngineSetup setup = with_oracle(requests_for_axes());
  setup.options.max_num_batched_tokens = GetParam();
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(alone(), run);
  expect_both(run.stats);
  EXPECT_GT(run.stats.chunked_prefills, 0u);
}
INSTANTIATE_TEST_SUITE_P(Speculation, SpeculativeChunk, ::testing::Values(9, 16, 64));

// Drafts never take rows from others: with room for one row there are none.
TEST(Speculation, NoRowsToSpareNoDrafts) {
  EngineSetup setup = with_oracle(requests_for_axes());
  setup.options.max_num_batched_tokens = 1;
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(alone(), run);
  EXPECT_EQ(run.stats.speculation->drafts, 0u);
}

class SpeculativeBlock : public ::testing::TestWithParam<int> {};
TEST_P(SpeculativeBlock, EqualsPlain) {
  EngineSetup setup = with_oracle(requests_for_axes());
  setup.block_size = GetParam();
  setup.num_blocks = 4096 / GetParam();
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(alone(), run);
  expect_both(run.stats);
}
INSTANTIATE_TEST_SUITE_P(Speculation, SpeculativeBlock, ::testing::Values(1, 3, 16));

TEST(Speculation, PreemptedEqualsPlain) {
  EngineSetup setup = with_oracle(requests_for_axes());
  setup.num_blocks = 32;
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(alone(), run);
  expect_both(run.stats);
  EXPECT_GT(run.stats.preemptions, 0u);
  EXPECT_LE(run.stats.preemptions, requests_for_axes().size());
}

// Prompts that begin the same, and answers that become prompts: what the cache knows is what plain decoding left there.
TEST(Speculation, PrefixCacheHoldsTheSame) {
  std::vector<Request> requests = mixed_requests(8, 24, kVocab, 1, 30, 30);
  const std::vector<Token> common = random_prompt(99, 37);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    Request& request = requests[i];
    if (i % 2 == 1) {
      request.prompt = requests[i - 1].prompt;
      const std::vector<Token> answer = expected_answer(requests[i - 1], 0).tokens;
      request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
    } else {
      request.prompt.insert(request.prompt.begin(), common.begin(), common.end());
    }
  }
  for (int block : {1, 4, 16}) {
    EngineSetup setup;
    setup.block_size = block;
    setup.num_blocks = 4096 / block;
    const RunResult plain = run_requests(setup, stub, requests, Arrival::kOneByOne);
    setup.drafter = with_oracle(requests).drafter;
    for (Arrival arrival : {Arrival::kOneByOne, Arrival::kTogether, Arrival::kRandom}) {
      const RunResult run = run_requests(setup, stub, requests, arrival, 3);
      ASSERT_TRUE(plain.ended && run.ended);
      EXPECT_EQ(compare_runs(plain, run).answers, 0);
      EXPECT_EQ(compare_runs(plain, run).logits, 0);
      expect_both(run.stats);
      EXPECT_GT(run.stats.prefix_hits, 0u);
      if (arrival != Arrival::kOneByOne) continue;
      EXPECT_EQ(run.stats.prefix_hits, plain.stats.prefix_hits);
      EXPECT_EQ(run.stats.kv_blocks_kept, plain.stats.kv_blocks_kept);
    }
  }
}

// Ends of every kind in the middle of a draft: stop ids, end of sequence, min_tokens, max_tokens; and n samples.
TEST(Speculation, EndsWherePlainEnds) {
  std::vector<Request> requests;
  for (std::uint64_t i = 0; i < 40; ++i) {
    Request request = make_request(i + 1, random_prompt(i, 5), 1 + static_cast<std::int32_t>(i % 23));
    request.n = 1 + static_cast<std::int32_t>(i % 3);
    request.sampling.temperature = i % 2 == 0 ? 0.0f : 1.3f;
    request.sampling.seed = i;
    request.sampling.stop_token_ids = {3, 17, 40};
    request.sampling.min_tokens =
        i % 4 == 0 ? std::min(static_cast<std::int32_t>(i % 7), request.sampling.max_tokens) : 0;
    request.sampling.presence_penalty = i % 5 == 0 ? 0.7f : 0.0f;
    request.sampling.logit_bias = {{11, 2.0f}};
    request.sampling.logprobs = 3;
    requests.push_back(request);
  }
  EngineSetup setup = with_oracle(requests, 0.1);
  auto engine = engine_of(setup, stub());
  std::vector<std::shared_ptr<CollectSink>> sinks;
  for (const Request& request : requests) {
    sinks.push_back(std::make_shared<CollectSink>());
    ASSERT_TRUE(engine->submit(request, sinks.back()).ok());
  }
  for (std::size_t i = 0; i < requests.size(); ++i) {
    ASSERT_TRUE(sinks[i]->wait_finished(requests[i].n));
    for (std::int32_t index = 0; index < requests[i].n; ++index) {
      const SampleLog expected = expected_answer(requests[i], index);
      const SampleLog log = sinks[i]->log(index);
      EXPECT_EQ(log.tokens, expected.tokens);
      EXPECT_EQ(log.finish, expected.finish);
      EXPECT_EQ(log.stop_token, expected.stop_token);
      EXPECT_EQ(log.logprobs.size(), expected.tokens.size());
      EXPECT_EQ(log.finishes, 1);
      EXPECT_EQ(log.events_after_finish, 0);
    }
  }
  ASSERT_TRUE(wait_idle(*engine));
  expect_both(engine->stats());
  EXPECT_GT(engine->stats().finished_stop, 0u);
  EXPECT_GT(engine->stats().finished_length, 0u);
}

TEST(Speculation, RightDraftsSaveSteps) {
  std::vector<Request> requests = {make_request(1, random_prompt(4, 6), 101)};
  requests[0].sampling.ignore_eos = true;
  const RunResult run = run_requests(with_oracle(requests, 0.0), stub, requests, Arrival::kTogether);
  ASSERT_TRUE(run.ended);
  EXPECT_EQ(run.logs[0].tokens, expected_answer(requests[0], 0).tokens);
  EXPECT_EQ(run.stats.speculation->accepted_tokens, 80u);
  EXPECT_EQ(run.stats.steps, 21u);  // the prompt and its first token, then five tokens a step
}

TEST(Speculation, WrongDraftsCostNothingButRows) {
  EngineSetup setup = with_oracle(requests_for_axes(), 1.0);
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(alone(), run);
  EXPECT_GT(run.stats.speculation->draft_tokens, 0u);
  EXPECT_EQ(run.stats.speculation->accepted_tokens, 0u);
}

TEST(Speculation, PromptLookupEqualsPlain) {
  EngineSetup setup;
  setup.drafter = [] { return std::make_unique<NgramDrafter>(1, 3); };
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(alone(), run);
  EXPECT_GT(run.stats.speculation->draft_tokens, 0u);
}

// Earlier answers are drafted from: a request that comes again costs few steps, and its answer is the same.
TEST(Speculation, SuffixDraftsEqualPlain) {
  EngineSetup setup;
  setup.drafter = [] { return std::make_unique<SuffixDrafter>(SuffixOptions{.min_token_prob = 0.0}); };
  expect_same(alone(), run_requests(setup, stub, requests_for_axes(), Arrival::kTogether));
  std::vector<Request> twice = mixed_requests(9, 6, kVocab, 4, 20, 60);
  for (std::size_t i = 0; i < 6; ++i) {
    twice[i].sampling.temperature = 0.0;
    twice.push_back(twice[i]);
    twice.back().id = RequestId{1000 + i};
  }
  EngineSetup without;
  const RunResult plain = run_requests(without, stub, twice, Arrival::kOneByOne);
  const RunResult run = run_requests(setup, stub, twice, Arrival::kOneByOne);
  ASSERT_TRUE(plain.ended && run.ended);
  EXPECT_EQ(compare_runs(plain, run).answers, 0);
  EXPECT_GT(run.stats.speculation->accepted_tokens, 0u);
  EXPECT_LT(run.stats.steps, plain.stats.steps);
}

// A row whose logits are not finite ends the sample in its own step, after the tokens before it, as plain decoding
// does.
TEST(Speculation, ARowThatFailsIsRejectedAndThenFails) {
  std::vector<Request> requests = mixed_requests(5, 8, kVocab, 4, 20, 40);
  for (Request& request : requests) request.sampling.max_tokens = 30;
  std::vector<Token> poisoned = requests[2].prompt;
  const std::vector<Token> answer = expected_answer(requests[2], 0).tokens;
  poisoned.insert(poisoned.end(), answer.begin(), answer.begin() + 13);
  const std::vector<float> target = stub_logits(history_hash(poisoned), kVocab);
  const auto model = [target] {
    return std::make_unique<HookedModel>(
        stub(), [target](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
          RETURN_IF_ERROR(inner.forward(input, cache, logits));
          for (std::int64_t i = 0; i < logits.rows; ++i) {
            float* row = logits.data + i * logits.stride;
            if (std::equal(target.begin(), target.end(), row)) row[3] = std::numeric_limits<float>::quiet_NaN();
          }
          return Status();
        });
  };
  EngineSetup setup;
  const RunResult plain = run_requests(setup, model, requests, Arrival::kTogether);
  setup.drafter = with_oracle(requests, 0.05).drafter;
  const RunResult run = run_requests(setup, model, requests, Arrival::kTogether);
  ASSERT_TRUE(plain.ended && run.ended);
  expect_both(run.stats);
  EXPECT_EQ(compare_runs(plain, run).answers, 0);
  EXPECT_EQ(run.logs[2].tokens.size(), 13u);
  EXPECT_EQ(run.logs[2].error.code(), Code::kDataLoss);
  EXPECT_EQ(plain.stats.nonfinite_rows, 1u);
  EXPECT_EQ(run.stats.nonfinite_rows, 1u);
}

// A step that fails because of its drafts is made again without them, and is held against nobody.
TEST(Speculation, AStepThatFailsWithDraftsIsMadeAgainWithoutThem) {
  const std::vector<Request> requests = mixed_requests(6, 8, kVocab, 4, 20, 40);
  std::atomic<int> failed{0};
  const auto model = [&failed] {
    return std::make_unique<HookedModel>(
        stub(), [&failed](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
          for (const SeqSpan& seq : input.seqs) {
            if (seq.rows > 3 && seq.first_position > 30) return ++failed, internal_error("too many rows");
          }
          return inner.forward(input, cache, logits);
        });
  };
  EngineSetup setup;
  setup.options.max_fatal_steps = 2;
  const RunResult plain = run_requests(setup, stub, requests, Arrival::kTogether);
  setup.drafter = with_oracle(requests, 0.05).drafter;
  const RunResult run = run_requests(setup, model, requests, Arrival::kTogether);
  ASSERT_TRUE(run.ended);
  EXPECT_GT(failed.load(), 1);
  EXPECT_EQ(run.stats.failed, 0u);
  EXPECT_EQ(compare_runs(plain, run).answers, 0);
  expect_both(run.stats);
}

TEST(Speculation, FiguresGoOutUnderVllmsNames) {
  Metrics metrics;
  EngineSetup setup = with_oracle(requests_for_axes());
  setup.metrics = &metrics;
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  ASSERT_TRUE(run.ended);
  const SpecFigures& figures = *run.stats.speculation;
  const std::string text = metrics.prometheus_text();
  const auto line = [&](const std::string& name, const std::string& label, std::uint64_t value) {
    const std::string expected =
        name + "{engine=\"0\",model_name=\"stub\"" + label + "} " + std::to_string(value) + "\n";
    EXPECT_NE(text.find(expected), std::string::npos) << expected << text;
  };
  line("vllm:spec_decode_num_drafts_total", "", figures.drafts);
  line("vllm:spec_decode_num_draft_tokens_total", "", figures.draft_tokens);
  line("vllm:spec_decode_num_accepted_tokens_total", "", figures.accepted_tokens);
  for (std::size_t i = 0; i < 4; ++i) {
    line("vllm:spec_decode_num_accepted_tokens_per_pos_total", ",position=\"" + std::to_string(i) + "\"",
         figures.accepted_at[i]);
  }
}

}  // namespace
}  // namespace foregate
