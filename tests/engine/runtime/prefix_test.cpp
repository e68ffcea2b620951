// Prefixes that are not computed again: cached = computed, byte for byte on logits and tokens, at every length around a
// block and every size of one, and counters that say how much was left out. The stub model fails a step in which a
// slot does not hold what the row's own history says.
#include <gtest/gtest.h>

#include <future>
#include <limits>

#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

std::unique_ptr<Model> stub() {
  return std::make_unique<StubModel>(kVocab);
}

// Counts the rows that the model computes; the first step waits for `start`.
std::unique_ptr<Model> counting_stub(std::shared_ptr<std::atomic<std::int64_t>> rows, std::shared_future<void> start) {
  return std::make_unique<HookedModel>(
      stub(), [rows, start](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
        start.wait();
        *rows += static_cast<std::int64_t>(input.tokens.size());
        return inner.forward(input, cache, logits);
      });
}

Request request_of(std::uint64_t id, std::vector<Token> prompt, std::int32_t max_tokens) {
  Request request = make_request(id, std::move(prompt), max_tokens);
  request.sampling.ignore_eos = true;
  request.sampling.logprobs = 2;
  return request;
}

std::vector<Token> first_of(std::vector<Token> tokens, std::int32_t count) {
  tokens.resize(static_cast<std::size_t>(count));
  return tokens;
}

// What a prompt of `length` need not compute when all its full blocks are known.
std::int32_t reusable(std::int32_t length, std::int32_t block_size) {
  return length % block_size == 0 ? length - 1 : length / block_size * block_size;
}

RunResult run_with(bool caching, EngineSetup setup, const std::vector<Request>& requests, Arrival arrival) {
  setup.options.prefix_caching = caching;
  return run_requests(setup, stub, requests, arrival, 5);
}

void expect_equal_runs(const RunResult& off, const RunResult& on) {
  ASSERT_TRUE(off.ended && on.ended);
  EXPECT_EQ(off.stats.prefix_queries, 0u);
  EXPECT_EQ(off.stats.kv_blocks_kept, 0);
  const Difference difference = compare_runs(off, on);
  EXPECT_EQ(difference.answers, 0);
  EXPECT_EQ(difference.logits, 0);
  EXPECT_EQ(difference.compared, static_cast<std::int64_t>(off.record->rows.size()));
  EXPECT_EQ(on.stats.kv_blocks_used, 0);
}

class PrefixBlocks : public ::testing::TestWithParam<int> {
 protected:
  EngineSetup setup() const {
    EngineSetup made;
    made.block_size = GetParam();
    made.num_blocks = 2048 / GetParam();
    return made;
  }
};

TEST_P(PrefixBlocks, EveryLengthAroundABlockGivesTheSameBytes) {
  const std::int32_t block = GetParam();
  const std::vector<Token> text = random_prompt(1, 6 * block + 5);
  for (std::int32_t length : {block - 1, block, block + 1, 2 * block, 3 * block - 1, 3 * block, 3 * block + 1}) {
    if (length < 1) continue;
    std::vector<Request> requests = {request_of(1, first_of(text, length), 4),
                                     request_of(2, first_of(text, length), 4)};  // the whole prompt again
    auto longer = requests[0].prompt;
    for (Token token : random_prompt(2, block + 2)) longer.push_back(token);
    requests.push_back(request_of(3, longer, 4));
    const RunResult off = run_with(false, setup(), requests, Arrival::kOneByOne);
    const RunResult on = run_with(true, setup(), requests, Arrival::kOneByOne);
    expect_equal_runs(off, on);
    EXPECT_EQ(on.logs[0].cached_tokens, 0);
    EXPECT_EQ(on.logs[1].cached_tokens, reusable(length, block)) << length;
    EXPECT_GE(on.logs[2].cached_tokens, length / block * block);
    EXPECT_EQ(on.stats.prefix_queries, 3u * static_cast<unsigned>(length) + static_cast<unsigned>(block) + 2);
    const std::int32_t hits = on.logs[1].cached_tokens + on.logs[2].cached_tokens;
    EXPECT_EQ(on.stats.prefix_hits, static_cast<std::uint64_t>(hits));
    EXPECT_EQ(on.stats.prefix_copies, length % block == 0 && block > 1 ? 1u : 0u) << "the last token is computed";
  }
}

// A second turn: the prompt is the first one with its answer and more.
TEST_P(PrefixBlocks, AnswersServeTheNextTurn) {
  const std::int32_t block = GetParam();
  Request first = request_of(1, random_prompt(3, 2 * block + 1), 2 * block + 3);
  Request second = request_of(2, first.prompt, 6);
  for (Token token : expected_answer(first, 0).tokens) second.prompt.push_back(token);
  second.prompt.push_back(5);
  const auto both = {first, second};
  const RunResult off = run_with(false, setup(), both, Arrival::kOneByOne);
  const RunResult on = run_with(true, setup(), both, Arrival::kOneByOne);
  expect_equal_runs(off, on);
  // The last token of the answer was never an input, so its block may not be full.
  const auto known = static_cast<std::int32_t>(second.prompt.size()) - 2;
  EXPECT_EQ(on.logs[1].cached_tokens, known / block * block);
}

std::vector<Request> family(std::uint64_t seed, int count, std::int32_t block) {
  std::vector<Request> requests = mixed_requests(seed, count, kVocab, 1, 20, 24);
  const std::vector<Token> text = random_prompt(seed, 5 * block + 40);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto shared = static_cast<std::int32_t>(static_cast<std::size_t>(block) * (i % 4) + i % 3);
    std::vector<Token> prompt = first_of(text, shared);
    prompt.insert(prompt.end(), requests[i].prompt.begin(), requests[i].prompt.end());
    if (i % 5 == 4) prompt = requests[i - 1].prompt;
    requests[i].prompt = prompt;
    requests[i].cache_salt = i % 7 == 6 ? "other" : "";
  }
  requests[8].prompt_logprobs = 2;
  return requests;
}

TEST_P(PrefixBlocks, TogetherChunkedAndAtRandomTimes) {
  const auto requests = family(11, 40, GetParam());
  EngineSetup some = setup();
  const RunResult off = run_with(false, some, requests, Arrival::kOneByOne);
  for (Arrival arrival : {Arrival::kOneByOne, Arrival::kTogether, Arrival::kRandom}) {
    some.options.max_num_batched_tokens = arrival == Arrival::kTogether ? 16 : 64;
    const RunResult on = run_with(true, some, requests, arrival);
    expect_equal_runs(off, on);
    EXPECT_GT(on.stats.prefix_hits, 0u);
  }
}

TEST_P(PrefixBlocks, PreemptedAndResumedFromTheCache) {
  const auto requests = family(12, 40, GetParam());
  EngineSetup some = setup();
  const RunResult off = run_with(false, some, requests, Arrival::kOneByOne);
  some.num_blocks = (5 * GetParam() + 70) / GetParam() + 1;
  const RunResult on = run_with(true, some, requests, Arrival::kTogether);
  expect_equal_runs(off, on);
  EXPECT_GT(on.stats.preemptions, 0u);
  EXPECT_GT(on.stats.prefix_hits, 0u);
  EXPECT_GT(on.stats.prefix_evictions, 0u);
}

INSTANTIATE_TEST_SUITE_P(Prefix, PrefixBlocks, ::testing::Values(1, 3, 4, 16));

TEST(Prefix, PreemptedSequencesFindTheirOwnBlocks) {
  const auto requests = mixed_requests(3, 32, kVocab, 1, 70, 40);
  EngineSetup setup;
  const RunResult off = run_with(false, setup, requests, Arrival::kOneByOne);
  setup.num_blocks = 40;
  const RunResult on = run_with(true, setup, requests, Arrival::kTogether);
  expect_equal_runs(off, on);
  EXPECT_GT(on.stats.preemptions, 0u);
  EXPECT_GT(on.stats.resume_hits, 0u);
}

// Many clients ask the same at once, on a cold cache: one of them computes.
TEST(Prefix, IdenticalPrefixesInFlightAreComputedOnce) {
  EngineSetup setup;
  setup.options.max_num_batched_tokens = 8;
  const std::vector<Token> prompt = random_prompt(4, 41);
  for (bool caching : {false, true}) {
    setup.options.prefix_caching = caching;
    auto rows = std::make_shared<std::atomic<std::int64_t>>(0);
    std::promise<void> start;
    auto engine = engine_of(setup, counting_stub(rows, start.get_future().share()));
    std::vector<std::shared_ptr<CollectSink>> sinks;
    for (std::uint64_t i = 1; i <= 6; ++i) {
      sinks.push_back(std::make_shared<CollectSink>());
      ASSERT_TRUE(engine->submit(request_of(i, prompt, 3), sinks.back()).ok());
    }
    start.set_value();
    for (const auto& sink : sinks) ASSERT_TRUE(sink->wait_finished(1));
    ASSERT_TRUE(wait_idle(*engine));
    for (const auto& sink : sinks) EXPECT_EQ(sink->log().tokens, expected_answer(request_of(1, prompt, 3), 0).tokens);
    const EngineStats stats = engine->stats();
    // 41 tokens are ten blocks and one token.
    EXPECT_EQ(*rows, caching ? 41 + 5 * 1 + 6 * 2 : 6 * 41 + 6 * 2);
    EXPECT_EQ(stats.prefix_hits, caching ? 5u * 40 : 0u);
    EXPECT_EQ(stats.prefix_waits > 0, caching);
  }
}

// Samples of one request share its prompt to the last token but one; each writes to a block of its own.
TEST(Prefix, SamplesShareThePromptAndCopyOnWrite) {
  EngineSetup setup;
  for (std::int32_t length : {9, 10, 11, 12}) {  // blocks of 4
    Request request = request_of(1, random_prompt(5, length), 9);
    request.n = 4;
    request.sampling.temperature = 1.0f;
    request.sampling.seed = 3;
    auto rows = std::make_shared<std::atomic<std::int64_t>>(0);
    std::promise<void> start;
    start.set_value();
    auto engine = engine_of(setup, counting_stub(rows, start.get_future().share()));
    auto sink = std::make_shared<CollectSink>();
    ASSERT_TRUE(engine->submit(request, sink).ok());
    ASSERT_TRUE(sink->wait_finished(4));
    ASSERT_TRUE(wait_idle(*engine));
    for (std::int32_t i = 0; i < 4; ++i) EXPECT_EQ(sink->log(i).tokens, expected_answer(request, i).tokens);
    EXPECT_EQ(*rows, length + 3 + 4 * 8);
    EXPECT_EQ(engine->stats().prefix_copies, length % 4 == 1 ? 0u : 3u) << length;
    EXPECT_EQ(sink->log(0).cached_tokens, 0);
    EXPECT_EQ(sink->log(3).cached_tokens, length - 1);
  }
}

TEST(Prefix, SaltsDoNotShare) {
  auto engine = stub_engine(EngineSetup());
  std::uint64_t id = 0;
  const auto cached = [&](const std::string& salt) {
    Request request = request_of(++id, random_prompt(6, 21), 2);
    request.cache_salt = salt;
    auto sink = std::make_shared<CollectSink>();
    EXPECT_TRUE(engine->submit(request, sink).ok());
    EXPECT_TRUE(sink->wait_finished(1));
    return sink->log().cached_tokens;
  };
  EXPECT_EQ(cached("a"), 0);
  EXPECT_EQ(cached("b"), 0);
  EXPECT_EQ(cached(""), 0);
  EXPECT_EQ(cached("a"), 20);
  EXPECT_EQ(cached("b"), 20);
  EXPECT_EQ(cached(""), 20);
  Request request = request_of(99, {1, 2, 3}, 2);
  request.cache_salt = std::string(300, 'x');
  EXPECT_EQ(engine->submit(request, std::make_shared<CollectSink>()).field(), "cache_salt");
}

// A row that is not finite is seen when logits are asked for: nothing of that request becomes known, whatever part
// of its prompt went well, and nothing of it stays in the pages.
TEST(Prefix, BlocksOfARequestWithBadLogitsAreNeverKnown) {
  EngineSetup setup;
  setup.options.max_num_batched_tokens = 8;
  auto left = std::make_shared<int>(1);
  auto cache_seen = std::make_shared<KvCache*>(nullptr);
  auto engine =
      engine_of(setup, std::make_unique<HookedModel>(stub(), [left, cache_seen](Model& inner, const ForwardInput& input,
                                                                                KvCache& cache, View2<float> logits) {
                  *cache_seen = &cache;
                  RETURN_IF_ERROR(inner.forward(input, cache, logits));
                  if (logits.rows > 0 && (*left)-- > 0) logits.data[3] = std::numeric_limits<float>::infinity();
                  return Status();
                }));
  const Request request = request_of(1, random_prompt(7, 30), 3);
  auto bad = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request, bad).ok());
  ASSERT_TRUE(bad->wait_finished(1));
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_EQ(bad->log().error.code(), Code::kDataLoss);
  EXPECT_EQ(engine->stats().kv_blocks_kept, 0);
  const KvPages pages = (*cache_seen)->pages(LayerId{0});
  const auto* v = static_cast<const float*>(pages.v);
  EXPECT_TRUE(std::all_of(v, v + pages.num_blocks * pages.block_size * 4, [](float x) { return x == 0.0f; }));
  auto good = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request_of(2, request.prompt, 3), good).ok());
  ASSERT_TRUE(good->wait_finished(1));
  EXPECT_EQ(good->log().cached_tokens, 0);
  EXPECT_EQ(good->log().tokens, expected_answer(request, 0).tokens);
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_GT(engine->stats().kv_blocks_kept, 0);
}

// The proof that the comparison can fail: a copy that is not made.
TEST(Prefix, ReverseAForgottenCopyIsCaught) {
  EngineSetup setup;
  setup.options.max_fatal_steps = 1000;
  auto engine = engine_of(setup, std::make_unique<HookedModel>(stub(), [](Model& inner, const ForwardInput& input,
                                                                          KvCache& cache, View2<float> l) {
                            for (const SeqSpan& seq : input.seqs) {
                              const std::int32_t at = seq.first_position;
                              if (at % 4 != 0 && seq.rows == 1) cache.zero_block(BlockId{seq.block_table[at / 4]});
                            }
                            return inner.forward(input, cache, l);
                          }));
  Request request = request_of(1, random_prompt(5, 11), 2);
  request.n = 2;
  auto sink = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine->submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(2));
  EXPECT_FALSE(sink->log(1).error.ok());
}

}  // namespace
}  // namespace foregate
