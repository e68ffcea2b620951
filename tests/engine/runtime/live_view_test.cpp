// What those who look on see of an engine: how far a prompt is, which samples wait and run, and series under vLLM's
// names that tell of waiting, refusals and KV blocks. The engine is driven turn by turn, by a clock of the test's own.
#include <gtest/gtest.h>

#include "engine/runtime/engine_impl.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

class RawSink final : public EventSink {
 public:
  void on_event(TokenEvent event) override { events.push_back(std::move(event)); }
  std::vector<TokenEvent> events;
};

struct LiveView : testing::Test {
  ManualClock clock;
  Metrics metrics;
  EngineSetup setup;
  std::unique_ptr<EngineImpl> engine;
  std::map<std::uint64_t, std::shared_ptr<RawSink>> sinks;

  LiveView() {
    setup.clock = &clock;
    setup.metrics = &metrics;
    setup.block_size = 4;
    setup.options.max_num_batched_tokens = 8;
  }
  void start() {
    engine = std::make_unique<EngineImpl>(parts_of(setup, std::make_unique<StubModel>(kVocab)), Drive::kCaller);
  }
  Status send(std::uint64_t id, std::vector<Token> prompt, std::int32_t max_tokens, bool progress = false,
              std::int32_t n = 1) {
    Request request = make_request(id, std::move(prompt), max_tokens);
    request.sampling.ignore_eos = true;
    request.progress = progress;
    request.n = n;
    sinks[id] = std::make_shared<RawSink>();
    return engine->submit(request, sinks[id]);
  }
  void turn(double seconds = 0.25) {
    engine->turn();
    ASSERT_TRUE(engine->audit().ok());
    clock.advance(seconds);
  }
  void run_out() {
    for (int turns = 0; !engine->idle(); ++turns) {
      ASSERT_LT(turns, 2000);
      turn();
    }
  }
  std::vector<std::int32_t> computed_of(std::uint64_t id) const {
    std::vector<std::int32_t> computed;
    for (const TokenEvent& event : sinks.at(id)->events) {
      if (event.progress) computed.push_back(event.progress->computed);
    }
    return computed;
  }
  std::vector<Token> tokens_of(std::uint64_t id) const {
    std::vector<Token> tokens;
    for (const TokenEvent& event : sinks.at(id)->events) {
      if (event.index == 0) tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
    }
    return tokens;
  }
  // -1: there is no such series.
  double series(const std::string& name) const {
    const std::string text = metrics.prometheus_text();
    const std::size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }
};

TEST_F(LiveView, ProgressIsToldOncePerStepOfAPromptAndChangesNothing) {
  start();
  const std::vector<Token> prompt = random_prompt(5, 21);
  ASSERT_TRUE(send(1, prompt, 4, true).ok());
  run_out();
  EXPECT_EQ(computed_of(1), (std::vector<std::int32_t>{8, 16, 21}));
  const std::vector<TokenEvent>& events = sinks[1]->events;
  EXPECT_TRUE(events[0].tokens.empty() && !events[0].finish);
  EXPECT_EQ(events[2].tokens.size(), 1u) << "the last part comes with the first token";
  EXPECT_EQ(events[0].progress->spent, 0) << "the clock stands still within a step";
  EXPECT_EQ(events[2].progress->spent, 500'000'000);
  EXPECT_EQ(events[2].decided_at - events[2].began_at, 500'000'000);
  EXPECT_FALSE(events[3].progress) << "and no more of it after that";

  ASSERT_TRUE(send(2, prompt, 4).ok());  // nobody asks
  run_out();
  EXPECT_TRUE(computed_of(2).empty());
  EXPECT_EQ(tokens_of(1), tokens_of(2));

  ASSERT_TRUE(send(3, prompt, 4, true, 2).ok());  // known by now; the first of two samples tells
  run_out();
  EXPECT_EQ(computed_of(3), (std::vector<std::int32_t>{21}));
  EXPECT_EQ(sinks[3]->events[0].cached_tokens, 20);
  EXPECT_EQ(tokens_of(3), tokens_of(1));
}

TEST_F(LiveView, ShowsWhoWaitsAndWhoRuns) {
  setup.options.max_num_seqs = 2;
  start();
  ASSERT_TRUE(send(1, random_prompt(1, 6), 20).ok());
  ASSERT_TRUE(send(2, random_prompt(2, 30), 20).ok());
  ASSERT_TRUE(send(3, random_prompt(3, 5), 20).ok());
  EXPECT_TRUE(engine->live().empty()) << "no turn yet";
  turn();
  turn();
  std::vector<LiveSample> live = engine->live();
  ASSERT_EQ(live.size(), 3u);
  EXPECT_EQ(live[0].state, SampleState::kDecode);
  EXPECT_EQ(live[0].prompt_tokens, 6);
  EXPECT_EQ(live[0].generated, 2);
  EXPECT_EQ(live[0].computed, 7);
  EXPECT_EQ(live[0].kv_blocks, 2);
  EXPECT_EQ(live[1].state, SampleState::kPrefill);
  EXPECT_GT(live[1].computed, 0);
  EXPECT_LT(live[1].computed, 30);
  EXPECT_EQ(live[1].generated, 0);
  EXPECT_EQ(live[2].state, SampleState::kWaiting);
  EXPECT_EQ(live[2].request, RequestId{3});
  EXPECT_EQ(live[2].first_run_at, -1);
  EXPECT_EQ(series("vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"stub\",reason=\"capacity\"}"), 1);
  EXPECT_EQ(series("vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"stub\",reason=\"deferred\"}"), 0);
  engine->set_paused(RequestId{1}, true);
  turn();
  EXPECT_EQ(engine->live()[0].state, SampleState::kPaused);
  engine->set_paused(RequestId{1}, false);
  run_out();
  EXPECT_TRUE(engine->live().empty());
}

TEST_F(LiveView, WhoWaitsForAPrefixIsDeferred) {
  start();
  const std::vector<Token> prompt = random_prompt(4, 40);
  ASSERT_TRUE(send(1, prompt, 3).ok());
  ASSERT_TRUE(send(2, prompt, 3).ok());
  turn();
  turn();
  ASSERT_EQ(engine->live().size(), 2u);
  EXPECT_EQ(engine->live()[1].state, SampleState::kDeferred);
  EXPECT_EQ(series("vllm:num_requests_waiting{engine=\"0\",model_name=\"stub\"}"), 1);
  EXPECT_EQ(series("vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"stub\",reason=\"deferred\"}"), 1);
  EXPECT_EQ(series("vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"stub\",reason=\"capacity\"}"), 0);
  run_out();
  EXPECT_EQ(series("vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"stub\",reason=\"deferred\"}"), 0);
}

TEST_F(LiveView, RefusalsAreCountedByTheirBound) {
  setup.options.max_num_seqs = 1;
  setup.options.max_num_queued_reqs = 2;
  setup.options.max_num_queued_tokens = 40;
  start();
  const auto rejected = [&](const std::string& reason) {
    return series("vllm:admission_rejections_total{engine=\"0\",model_name=\"stub\",reason=\"" + reason + "\"}");
  };
  ASSERT_TRUE(send(1, random_prompt(1, 30), 4).ok());
  EXPECT_FALSE(send(2, random_prompt(2, 30), 4).ok()) << "60 tokens wait";
  ASSERT_TRUE(send(3, random_prompt(3, 3), 4).ok());
  ASSERT_TRUE(send(4, random_prompt(4, 3), 4).ok());
  EXPECT_FALSE(send(5, random_prompt(5, 3), 4).ok()) << "three places";
  turn();
  EXPECT_EQ(rejected("max_num_queued_tokens"), 1);
  EXPECT_EQ(rejected("max_num_queued_reqs"), 1);
  EXPECT_EQ(rejected("max_client_share"), 0);
  run_out();
}

TEST_F(LiveView, BlocksTellHowLongTheyStayed) {
  setup.num_blocks = 8;
  setup.options.max_num_batched_tokens = 64;
  start();
  const auto named = [&](const std::string& name) { return series(name + "{engine=\"0\",model_name=\"stub\"}"); };
  const std::vector<Token> prompt = random_prompt(1, 17);
  ASSERT_TRUE(send(1, prompt, 1).ok());  // four full blocks are known afterwards
  run_out();
  EXPECT_EQ(named("vllm:kv_block_reuse_gap_seconds_count"), 0);
  clock.advance(10);
  ASSERT_TRUE(send(2, prompt, 1).ok());  // takes them over
  run_out();
  EXPECT_EQ(named("vllm:kv_block_reuse_gap_seconds_count"), 4);
  EXPECT_NEAR(named("vllm:kv_block_reuse_gap_seconds_sum"), 4 * 10.25, 1e-6);
  EXPECT_EQ(named("vllm:kv_block_lifetime_seconds_count"), 0);
  clock.advance(100);
  ASSERT_TRUE(send(3, random_prompt(2, 31), 1).ok());  // needs all eight
  run_out();
  EXPECT_EQ(named("vllm:kv_block_lifetime_seconds_count"), 4);
  EXPECT_NEAR(named("vllm:kv_block_lifetime_seconds_sum"), 4 * 110.5, 1e-6);
  EXPECT_EQ(named("vllm:kv_block_idle_before_evict_seconds_count"), 4);
  EXPECT_NEAR(named("vllm:kv_block_idle_before_evict_seconds_sum"), 4 * 100.25, 1e-6);
}

TEST_F(LiveView, CopiesOfPreemptedBlocksGoOutUnderVllmsNames) {
  setup.num_blocks = 12;
  setup.options.prefix_caching = false;
  setup.options.preemption = PreemptionMode::kSwap;
  setup.options.swap_space_bytes = 1 << 20;
  setup.options.max_num_batched_tokens = 64;
  start();
  for (std::uint64_t id = 1; id <= 4; ++id) ASSERT_TRUE(send(id, random_prompt(id, 8), 24).ok());
  run_out();
  const auto named = [&](const std::string& name, const std::string& more = "") {
    return series("vllm:kv_offload_" + name + "{engine=\"0\",model_name=\"stub\"" + more + "}");
  };
  const EngineStats stats = engine->stats();
  ASSERT_GT(stats.swaps_out, 0u);
  EXPECT_EQ(named("store_size_count"), static_cast<double>(stats.swaps_out));
  EXPECT_EQ(named("load_size_count"), static_cast<double>(stats.swaps_in));
  EXPECT_GT(named("store_bytes_total"), 0);
  EXPECT_EQ(named("load_bytes_total"), named("store_bytes_total")) << "all came back";
  EXPECT_EQ(named("total_bytes_total", ",transfer_type=\"GPU_to_CPU\""), named("store_bytes_total"));
  EXPECT_EQ(named("total_bytes_total", ",transfer_type=\"CPU_to_GPU\""), named("load_bytes_total"));
  EXPECT_EQ(named("cpu_cache_usage_perc"), 0);
  EXPECT_EQ(named("allocation_failure_total"), 0);
  EXPECT_EQ(named("stores_skipped_total"), 0);
  EXPECT_GE(named("store_time_total"), 0);
}

TEST_F(LiveView, CopiesWithoutRoomAreCounted) {
  setup.num_blocks = 12;
  setup.options.prefix_caching = false;
  setup.options.preemption = PreemptionMode::kSwap;
  setup.options.swap_space_bytes = 0;
  setup.options.max_num_batched_tokens = 64;
  start();
  for (std::uint64_t id = 1; id <= 4; ++id) ASSERT_TRUE(send(id, random_prompt(id, 8), 24).ok());
  run_out();
  EXPECT_EQ(series("vllm:kv_offload_allocation_failure_total{engine=\"0\",model_name=\"stub\"}"),
            static_cast<double>(engine->stats().preemptions));
  EXPECT_GT(engine->stats().preemptions, 0u);
}

}  // namespace
}  // namespace foregate
