// Hundreds of random scenarios, each from one seed: tiny pools, chunk sizes, cancels, pauses,
// parallel samples, prompts that begin the same, full queues, steps that fail and logits that are not numbers. After
// each: one finish per accepted sample, streamed tokens are a prefix of the stub's answer, all blocks free.
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "engine/base/rng.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : seed_(seed) {}
  std::int32_t range(std::int32_t low, std::int32_t high) {
    return low + static_cast<std::int32_t>(uniform01(seed_, 42, next_++) * (high - low + 1));
  }
  bool chance(double p) { return uniform01(seed_, 42, next_++) < p; }

 private:
  std::uint64_t seed_;
  std::uint64_t next_ = 0;
};

struct Totals {
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t failed = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t batched = 0;
  std::uint64_t chunked = 0;
  std::uint64_t complete = 0;
  std::uint64_t prefix_hits = 0;
  std::uint64_t prefix_copies = 0;
};

struct Sent {
  Request request;
  std::shared_ptr<CollectSink> sink = std::make_shared<CollectSink>();
  bool paused = false;
};

EngineSetup random_setup(Dice& dice) {
  EngineSetup setup;
  setup.block_size = dice.range(1, 5);
  setup.num_blocks = dice.range(12, 60);
  setup.options.max_num_seqs = dice.range(1, 6);
  setup.options.max_num_batched_tokens = dice.range(1, 40);
  setup.options.max_num_queued_reqs = dice.range(0, 12);
  setup.options.max_prefill_chunk = dice.chance(0.3) ? dice.range(1, 9) : 0;
  setup.options.max_logit_rows = dice.range(1, 9);
  setup.options.prefix_caching = dice.chance(0.8);
  return setup;
}

Request random_request(Dice& dice, std::uint64_t id) {
  Request request = make_request(id, random_prompt(id % 4 * 31, dice.range(1, 24)), dice.range(1, 24));
  request.cache_salt = dice.chance(0.2) ? "salt" : "";
  request.client = id % 3;
  request.n = dice.chance(0.2) ? dice.range(2, 3) : 1;
  request.sampling.seed = id;
  if (dice.chance(0.5)) request.sampling.temperature = 0.9f;
  if (dice.chance(0.2)) request.sampling.top_k = 5;
  if (dice.chance(0.2)) request.sampling.presence_penalty = 0.7f;
  if (dice.chance(0.2)) request.prompt_logprobs = 1;
  if (dice.chance(0.3)) request.sampling.ignore_eos = true;
  return request;
}

// Now and then a step fails or one row holds a NaN.
std::unique_ptr<Model> faulty_stub(std::uint64_t seed) {
  auto step = std::make_shared<std::uint64_t>(0);
  return std::make_unique<HookedModel>(
      std::make_unique<StubModel>(kVocab),
      [seed, step](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
        const double dice = uniform01(seed, 43, (*step)++);
        if (dice < 0.04) return internal_error("an injected fault");
        RETURN_IF_ERROR(inner.forward(input, cache, logits));
        if (dice < 0.08 && logits.rows > 0) logits.data[0] = std::numeric_limits<float>::quiet_NaN();
        return Status();
      });
}

void check_sample(const Sent& sent, std::int32_t index, bool faulty, Totals& totals) {
  const SampleLog log = sent.sink->log(index);
  ASSERT_EQ(log.finishes, 1);
  ASSERT_EQ(log.events_after_finish, 0);
  ASSERT_TRUE(faulty || *log.finish != FinishReason::kError) << log.error.to_string();
  const SampleLog want = expected_answer(sent.request, index);
  ASSERT_LE(log.tokens.size(), want.tokens.size());
  ASSERT_TRUE(std::equal(log.tokens.begin(), log.tokens.end(), want.tokens.begin()));
  ASSERT_EQ(*log.finish == FinishReason::kError, !log.error.ok());
  if (*log.finish == FinishReason::kCancelled || *log.finish == FinishReason::kError) {
    ++(*log.finish == FinishReason::kError ? totals.failed : totals.cancelled);
    return;
  }
  ++totals.complete;
  ASSERT_EQ(log.tokens, want.tokens);
  ASSERT_EQ(log.finish, want.finish);
  const std::size_t scored = sent.request.prompt_logprobs ? sent.request.prompt.size() : 0;
  ASSERT_EQ(log.prompt_logprobs.size(), scored);
}

void run_scenario(std::uint64_t seed, Totals& totals) {
  Dice dice(seed);
  EngineSetup setup = random_setup(dice);
  setup.options.max_fatal_steps = 1000;
  const bool faulty = dice.chance(0.25);
  auto engine = faulty ? engine_of(setup, faulty_stub(seed)) : stub_engine(setup);
  std::vector<Sent> all;
  const int requests = dice.range(1, 24);
  for (int i = 0; i < requests; ++i) {
    Sent sent;
    sent.request = random_request(dice, static_cast<std::uint64_t>(i) + 1);
    if (engine->submit(sent.request, sent.sink).ok()) {
      totals.accepted += static_cast<std::uint64_t>(sent.request.n);
      all.push_back(std::move(sent));
    }
    if (all.empty()) continue;
    Sent& any = all[static_cast<std::size_t>(dice.range(0, static_cast<std::int32_t>(all.size()) - 1))];
    if (dice.chance(0.15)) engine->cancel(any.request.id);
    if (dice.chance(0.10)) engine->cancel(any.request.id, dice.range(0, 2));
    if (dice.chance(0.25)) engine->set_paused(any.request.id, any.paused = !any.paused);
    if (dice.chance(0.30)) std::this_thread::sleep_for(std::chrono::microseconds(dice.range(1, 300)));
  }
  for (Sent& sent : all) engine->set_paused(sent.request.id, false);  // faults off: all must end
  ASSERT_TRUE(wait_idle(*engine));
  for (const Sent& sent : all) {
    for (std::int32_t index = 0; index < sent.request.n; ++index) check_sample(sent, index, faulty, totals);
  }
  const EngineStats stats = engine->stats();
  ASSERT_EQ(stats.kv_blocks_used, 0);
  ASSERT_EQ(stats.running + stats.waiting + stats.paused, 0);
  totals.refused += stats.refused;
  totals.preemptions += stats.preemptions;
  totals.batched += stats.batched_steps;
  totals.chunked += stats.chunked_prefills;
  totals.prefix_hits += stats.prefix_hits;
  totals.prefix_copies += stats.prefix_copies;
}

TEST(Stress, LedgerHoldsOverRandomScenarios) {
  Totals totals;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    run_scenario(seed, totals);
    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed;
  }
  std::printf(
      "accepted %llu complete %llu cancelled %llu failed %llu refused %llu preemptions %llu batched %llu chunked "
      "%llu\n",
      static_cast<unsigned long long>(totals.accepted), static_cast<unsigned long long>(totals.complete),
      static_cast<unsigned long long>(totals.cancelled), static_cast<unsigned long long>(totals.failed),
      static_cast<unsigned long long>(totals.refused), static_cast<unsigned long long>(totals.preemptions),
      static_cast<unsigned long long>(totals.batched), static_cast<unsigned long long>(totals.chunked));
  EXPECT_EQ(totals.accepted, totals.complete + totals.cancelled + totals.failed);
  EXPECT_GT(totals.failed, 0u);
  EXPECT_GT(totals.complete, 0u);
  EXPECT_GT(totals.cancelled, 0u);
  EXPECT_GT(totals.refused, 0u);
  EXPECT_GT(totals.preemptions, 0u);
  EXPECT_GT(totals.batched, 0u);
  EXPECT_GT(totals.chunked, 0u);
  EXPECT_GT(totals.prefix_hits, 0u);
  EXPECT_GT(totals.prefix_copies, 0u);
}

TEST(Stress, ManyThreadsSubmitCancelAndWatch) {
  EngineSetup setup;
  setup.num_blocks = 40;
  setup.options.max_num_queued_reqs = 12;
  auto engine = stub_engine(setup);
  std::atomic<std::int64_t> accepted{0};
  std::vector<std::thread> threads;
  std::vector<std::vector<Sent>> sent(4);
  for (std::size_t t = 0; t < sent.size(); ++t) {
    threads.emplace_back([&, t] {
      Dice dice(900 + t);
      for (std::uint64_t i = 0; i < 60; ++i) {
        Sent one;
        one.request = random_request(dice, 1000 * (t + 1) + i);
        if (!engine->submit(one.request, one.sink).ok()) {
          std::this_thread::sleep_for(std::chrono::microseconds(200));
          continue;
        }
        accepted += one.request.n;
        sent[t].push_back(one);
        if (dice.chance(0.2)) engine->cancel(sent[t][sent[t].size() / 2].request.id);
        if (dice.chance(0.2)) engine->set_paused(one.request.id, true);
        if (dice.chance(0.2)) engine->set_paused(one.request.id, false);
        EXPECT_TRUE(engine->healthy());
        EXPECT_GE(engine->stats().kv_blocks_total, engine->stats().kv_blocks_used);
      }
      for (const Sent& one : sent[t]) engine->set_paused(one.request.id, false);
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(wait_idle(*engine));
  Totals totals;
  for (const auto& list : sent) {
    for (const Sent& one : list) {
      for (std::int32_t index = 0; index < one.request.n; ++index) check_sample(one, index, false, totals);
    }
  }
  EXPECT_EQ(static_cast<std::int64_t>(totals.complete + totals.cancelled), accepted.load());
  EXPECT_EQ(engine->stats().kv_blocks_used, 0);
}

}  // namespace
}  // namespace foregate
