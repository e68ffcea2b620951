// The engine end to end over the stub model: what goes in, what comes out, what is refused.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/sample/logprobs.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

TEST(Engine, AnswersOneRequest) {
  auto engine = stub_engine(EngineSetup());
  auto sink = std::make_shared<CollectSink>();
  const Request request = make_request(1, {1, 2, 3, 4, 5, 6}, 20);
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  const SampleLog want = expected_answer(request, 0);
  const SampleLog got = sink->log();
  EXPECT_EQ(got.tokens, want.tokens);
  EXPECT_EQ(got.finish, want.finish);
  EXPECT_EQ(got.finishes, 1);
  ASSERT_TRUE(wait_idle(*engine));
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.kv_blocks_used, 0);
  EXPECT_EQ(stats.prompt_tokens, 6u);
  EXPECT_EQ(stats.generated_tokens, want.tokens.size());
}

TEST(Engine, EndOfSequenceIdIsNotPartOfTheOutput) {
  auto engine = stub_engine(EngineSetup());
  // Look for a prompt whose greedy answer meets the end id soon.
  for (std::uint64_t seed = 0;; ++seed) {
    Request request = make_request(1, random_prompt(seed, 5), 100);
    const SampleLog want = expected_answer(request, 0);
    if (want.finish != FinishReason::kStop || want.tokens.empty()) continue;
    auto sink = std::make_shared<CollectSink>();
    ASSERT_TRUE(engine->submit(request, sink).ok());
    ASSERT_TRUE(sink->wait_finished(1));
    EXPECT_EQ(sink->log().stop_token, kEos);
    EXPECT_EQ(sink->log().tokens, want.tokens);

    ASSERT_TRUE(wait_idle(*engine));
    request.sampling.ignore_eos = true;
    sink = std::make_shared<CollectSink>();
    ASSERT_TRUE(engine->submit(request, sink).ok());
    ASSERT_TRUE(sink->wait_finished(1));
    EXPECT_EQ(sink->log().finish, FinishReason::kLength);
    EXPECT_EQ(sink->log().tokens.size(), 100u);
    return;
  }
}

TEST(Engine, StopIdsAndMinTokens) {
  auto engine = stub_engine(EngineSetup());
  Request request = make_request(1, {9, 8, 7, 6}, 40);
  const std::vector<Token> free_run = expected_answer(request, 0).tokens;
  ASSERT_GE(free_run.size(), 3u);
  request.sampling.stop_token_ids = {free_run[1]};
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(sink->log().finish, FinishReason::kStop);
  EXPECT_EQ(sink->log().stop_token, free_run[1]);

  ASSERT_TRUE(wait_idle(*engine));
  request.sampling.min_tokens = 30;
  sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_GE(sink->log().tokens.size(), 30u);
  for (std::size_t i = 0; i < 30; ++i) {
    EXPECT_NE(sink->log().tokens[i], free_run[1]);
    EXPECT_NE(sink->log().tokens[i], kEos);
  }
}

TEST(Engine, ParallelSamplesDifferAndRepeatWithTheSeed) {
  auto engine = stub_engine(EngineSetup());
  Request request = make_request(1, {3, 1, 4, 1, 5}, 24);
  request.n = 4;
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 99;
  request.sampling.ignore_eos = true;
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(4));
  for (std::int32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(sink->log(i).tokens, expected_answer(request, i).tokens) << i;
    EXPECT_EQ(sink->log(i).finishes, 1);
    if (i > 0) {
      EXPECT_NE(sink->log(i).tokens, sink->log(0).tokens);
    }
  }
  EXPECT_GT(engine->stats().batched_steps, 0u);
}

TEST(Engine, RequestsWithoutSeedDifferAndTheServerSeedFixesThem) {
  const auto run = [](std::uint64_t server_seed) {
    EngineSetup setup;
    setup.options.seed = server_seed;
    auto engine = stub_engine(setup);
    std::vector<std::vector<Token>> answers;
    for (std::uint64_t id = 1; id <= 2; ++id) {
      Request request = make_request(id, {3, 1, 4, 1, 5}, 24);
      request.sampling.temperature = 1.0f;
      request.sampling.ignore_eos = true;
      auto sink = std::make_shared<CollectSink>();
      EXPECT_TRUE(engine->submit(request, sink).ok());
      EXPECT_TRUE(sink->wait_finished(1));
      answers.push_back(sink->log().tokens);
    }
    return answers;
  };
  const auto first = run(5);
  EXPECT_NE(first[0], first[1]);
  EXPECT_EQ(first, run(5));
  EXPECT_NE(first, run(6));
}

TEST(Engine, LogprobsOfOutputAndPrompt) {
  EngineSetup setup;
  setup.options.max_logit_rows = 3;  // prompt scores come over several chunks
  auto engine = stub_engine(setup);
  Request request = make_request(1, random_prompt(4, 11), 8);
  request.sampling.logprobs = 3;
  request.prompt_logprobs = 2;
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  const SampleLog log = sink->log();
  ASSERT_EQ(log.logprobs.size(), log.tokens.size());
  ASSERT_EQ(log.prompt_logprobs.size(), request.prompt.size());
  EXPECT_TRUE(log.prompt_logprobs[0].top.empty());
  std::vector<Token> tokens = request.prompt;
  for (std::size_t i = 1; i < request.prompt.size(); ++i) {
    const auto logits = stub_logits(history_hash(std::span(tokens).first(i)), kVocab);
    const PositionLogprobs want = position_logprobs(logits, tokens[i], 2);
    EXPECT_EQ(log.prompt_logprobs[i].chosen.token, tokens[i]);
    EXPECT_EQ(log.prompt_logprobs[i].chosen.logprob, want.chosen.logprob);
    EXPECT_EQ(log.prompt_logprobs[i].top.size(), 2u);
  }
  for (std::size_t i = 0; i < log.tokens.size(); ++i) {
    EXPECT_EQ(log.logprobs[i].chosen.token, log.tokens[i]);
    ASSERT_EQ(log.logprobs[i].top.size(), 3u);
    EXPECT_EQ(log.logprobs[i].top[0].token, log.tokens[i]);  // greedy
    EXPECT_GE(log.logprobs[i].top[0].logprob, log.logprobs[i].top[1].logprob);
  }
  EXPECT_GT(engine->stats().chunked_prefills, 0u);
}

TEST(Engine, RefusesWhatCanNeverFitWithNumbers) {
  EngineSetup setup;
  setup.num_blocks = 5;  // 20 positions
  auto engine = stub_engine(setup);
  const Status status = engine->submit(make_request(1, random_prompt(1, 10), 12), std::make_shared<CollectSink>());
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_EQ(status.field(), "max_tokens");
  EXPECT_NE(status.message().find("6 KV blocks"), std::string::npos) << status.message();
  EXPECT_NE(status.message().find("there are 5"), std::string::npos) << status.message();
  auto sink = std::make_shared<CollectSink>();
  EXPECT_TRUE(engine->submit(make_request(2, random_prompt(1, 10), 11), sink).ok());  // exactly 20
  EXPECT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(engine->stats().refused, 1u);
}

TEST(Engine, RefusesBadRequestsByField) {
  auto engine = stub_engine(EngineSetup());
  const auto field_of = [&](auto change) {
    Request request = make_request(1, {1, 2}, 4);
    change(request);
    const Status status = engine->submit(request, std::make_shared<CollectSink>());
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return status.field();
  };
  EXPECT_EQ(field_of([](Request& r) { r.prompt = {}; }), "prompt");
  EXPECT_EQ(field_of([](Request& r) { r.prompt = {kVocab}; }), "prompt");
  EXPECT_EQ(field_of([](Request& r) { r.prompt = {-1}; }), "prompt");
  EXPECT_EQ(field_of([](Request& r) { r.n = 0; }), "n");
  EXPECT_EQ(field_of([](Request& r) { r.sampling.max_tokens = 0; }), "max_tokens");
  EXPECT_EQ(field_of([](Request& r) { r.sampling.max_tokens = 2147483647; }), "max_tokens");
  EXPECT_EQ(field_of([](Request& r) { r.sampling.temperature = NAN; }), "temperature");
  EXPECT_EQ(field_of([](Request& r) { r.sampling.logit_bias = {{kVocab, 1.0f}}; }), "logit_bias");
  EXPECT_EQ(field_of([](Request& r) { r.sampling.stop_token_ids = {-1}; }), "stop_token_ids");
  EXPECT_EQ(field_of([](Request& r) { r.prompt_logprobs = 1000; }), "prompt_logprobs");
}

TEST(Engine, MetricsCarryTheNamesOfVllm) {
  Metrics metrics;
  EngineSetup setup;
  setup.metrics = &metrics;
  auto engine = stub_engine(setup);
  auto sink = std::make_shared<CollectSink>();
  Request request = make_request(1, {1, 2, 3}, 4);
  request.sampling.ignore_eos = true;
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  ASSERT_TRUE(wait_idle(*engine));
  const std::string text = metrics.prometheus_text();
  for (const char* line :
       {"vllm:num_requests_running{engine=\"0\",model_name=\"stub\"} 0",
        "vllm:num_requests_waiting{",
        "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"stub\"} 0",
        "vllm:prompt_tokens_total{engine=\"0\",model_name=\"stub\"} 3",
        "vllm:generation_tokens_total{engine=\"0\",model_name=\"stub\"} 4",
        "vllm:num_preemptions_total{",
        "vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"stub\"} 1",
        "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"stub\"} 3",
        "vllm:e2e_request_latency_seconds_count{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:request_queue_time_seconds_count{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:iteration_tokens_total_count{engine=\"0\",model_name=\"stub\"} 4",
        "foregate_steps_total{model_name=\"stub\"} 4",
        "foregate_bugs_total 0",
        "vllm:request_prompt_tokens_sum{engine=\"0\",model_name=\"stub\"} 3",
        "vllm:request_generation_tokens_sum{engine=\"0\",model_name=\"stub\"} 4",
        "vllm:request_max_num_generation_tokens_sum{engine=\"0\",model_name=\"stub\"} 4",
        "vllm:request_prefill_kv_computed_tokens_sum{engine=\"0\",model_name=\"stub\"} 3",
        "vllm:request_params_n_sum{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:request_params_max_tokens_sum{engine=\"0\",model_name=\"stub\"} 4",
        "vllm:request_prefill_time_seconds_count{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:request_decode_time_seconds_count{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:request_inference_time_seconds_count{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:request_time_per_output_token_seconds_count{engine=\"0\",model_name=\"stub\"} 1",
        "vllm:prompt_tokens_cached_total{engine=\"0\",model_name=\"stub\"} 0",
        "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"stub\",source=\"local_compute\"} 3",
        "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"stub\",source=\"local_cache_hit\"} 0"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

TEST(Engine, OptionsThatDoNotFitAreRefusedByName) {
  const auto field_of = [](auto change) {
    EngineSetup setup;
    change(setup);
    auto engine = make_engine(parts_of(setup, std::make_unique<StubModel>(kVocab)));
    EXPECT_FALSE(engine.ok());
    return engine.ok() ? std::string() : engine.status().field();
  };
  EXPECT_EQ(field_of([](EngineSetup& s) { s.options.max_num_seqs = 0; }), "max_num_seqs");
  EXPECT_EQ(field_of([](EngineSetup& s) { s.options.max_num_batched_tokens = 0; }), "max_num_batched_tokens");
  EXPECT_EQ(field_of([](EngineSetup& s) { s.options.max_num_queued_reqs = -1; }), "max_num_queued_reqs");
  EXPECT_EQ(field_of([](EngineSetup& s) { s.options.step_limit_seconds = 0.0; }), "step_limit_seconds");
  EXPECT_EQ(field_of([](EngineSetup& s) { s.limits.vocab_size = 12; }), "vocab_size");
}

}  // namespace
}  // namespace foregate
