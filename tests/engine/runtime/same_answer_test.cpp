// Alone = batched = chunked = preempted = any block size, byte for byte on logits and tokens, over
// the stub model, whose logits change with any error in what a row can see. Every axis proves by a
// counter that its path ran, and a model that does depend on the batch is caught.
#include "tests/engine/runtime/same_answer.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

using namespace testing_support;

std::unique_ptr<Model> stub() {
  return std::make_unique<StubModel>(kVocab);
}

std::vector<Request> requests_for_axes() {
  return mixed_requests(3, 32, kVocab, 1, 70, 40);
}

const RunResult& alone() {
  static const RunResult result = [] {
    EngineSetup setup;
    setup.options.max_num_batched_tokens = 128;  // every prompt whole
    return run_requests(setup, stub, requests_for_axes(), Arrival::kOneByOne);
  }();
  return result;
}

void expect_same(const RunResult& run) {
  ASSERT_TRUE(run.ended);
  const Difference difference = compare_runs(alone(), run);
  EXPECT_EQ(difference.answers, 0);
  EXPECT_EQ(difference.logits, 0);
  EXPECT_EQ(difference.compared, static_cast<std::int64_t>(alone().record->rows.size()));
  EXPECT_EQ(run.stats.kv_blocks_used, 0);
}

TEST(SameAnswer, AloneEqualsTheStub) {
  ASSERT_TRUE(alone().ended);
  EXPECT_EQ(alone().stats.batched_steps, 0u);
  EXPECT_EQ(alone().stats.chunked_prefills, 0u);
  const auto requests = requests_for_axes();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(alone().logs[i].tokens, expected_answer(requests[i], 0).tokens) << i;
  }
}

class BatchWidth : public ::testing::TestWithParam<int> {};
TEST_P(BatchWidth, TogetherAndAtRandomTimes) {
  EngineSetup setup;
  setup.options.max_num_seqs = GetParam();
  setup.num_blocks = 2048;
  for (Arrival arrival : {Arrival::kTogether, Arrival::kRandom}) {
    const RunResult run = run_requests(setup, stub, requests_for_axes(), arrival, 11);
    expect_same(run);
    EXPECT_GT(run.stats.batched_steps, 0u);
  }
}
INSTANTIATE_TEST_SUITE_P(SameAnswer, BatchWidth, ::testing::Values(2, 8, 32));

class ChunkSize : public ::testing::TestWithParam<int> {};
TEST_P(ChunkSize, PrefillInParts) {
  EngineSetup setup;
  setup.options.max_num_batched_tokens = GetParam();
  RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(run);
  EXPECT_GT(run.stats.chunked_prefills, 0u);
  setup.options.max_num_batched_tokens = 128;
  setup.options.max_prefill_chunk = GetParam();
  run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(run);
  EXPECT_GT(run.stats.chunked_prefills, 0u);
  EXPECT_GT(run.stats.batched_steps, 0u);
}
INSTANTIATE_TEST_SUITE_P(SameAnswer, ChunkSize, ::testing::Values(1, 7, 16, 64));

class BlockSize : public ::testing::TestWithParam<int> {};
TEST_P(BlockSize, AnyPageLength) {
  EngineSetup setup;
  setup.block_size = GetParam();
  setup.num_blocks = 4096 / GetParam();
  expect_same(run_requests(setup, stub, requests_for_axes(), Arrival::kTogether));
}
INSTANTIATE_TEST_SUITE_P(SameAnswer, BlockSize, ::testing::Values(1, 3, 16));

TEST(SameAnswer, PreemptedEqualsNot) {
  EngineSetup setup;
  setup.num_blocks = 32;  // 128 positions; one request may need 109
  const RunResult run = run_requests(setup, stub, requests_for_axes(), Arrival::kTogether);
  expect_same(run);
  EXPECT_GT(run.stats.preemptions, 0u);
  // Growth alone preempts a sequence at most once.
  EXPECT_LE(run.stats.preemptions, requests_for_axes().size());
}

// The proof that the comparison can fail: logits that depend on who else is in the step.
TEST(SameAnswer, ReverseBatchDependentLogitsAreCaught) {
  const auto broken = [] {
    return std::make_unique<HookedModel>(
        stub(), [](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
          RETURN_IF_ERROR(inner.forward(input, cache, logits));
          const auto width = static_cast<float>(input.seqs.size() - 1);
          for (std::int64_t i = 0; i < logits.rows; ++i) logits.data[i * logits.stride] += 1e-6f * width;
          return Status();
        });
  };
  EngineSetup setup;
  const RunResult run = run_requests(setup, broken, requests_for_axes(), Arrival::kTogether);
  ASSERT_TRUE(run.ended);
  EXPECT_GT(run.stats.batched_steps, 0u);
  EXPECT_GT(compare_runs(alone(), run).logits, 0);
}

// The same for a KV mix-up: a row that goes to its neighbour's slot.
TEST(SameAnswer, ReverseMisplacedKeysAreCaught) {
  const auto broken = [] {
    return std::make_unique<HookedModel>(
        stub(), [](Model& inner, const ForwardInput& input, KvCache& cache, View2<float> logits) {
          RETURN_IF_ERROR(inner.forward(input, cache, logits));
          if (input.seqs.size() < 2) return Status();
          const KvPages pages = cache.pages(LayerId{0});
          auto* v = static_cast<float*>(pages.v);
          for (int i = 0; i < 4; ++i) v[input.slot_mapping[0] * 4 + i] = v[input.slot_mapping.back() * 4 + i];
          return Status();
        });
  };
  EngineSetup setup;
  setup.options.max_fatal_steps = 1000;
  const RunResult run = run_requests(setup, broken, requests_for_axes(), Arrival::kTogether);
  ASSERT_TRUE(run.ended);
  EXPECT_GT(run.stats.failed, 0u);
  EXPECT_GT(compare_runs(alone(), run).answers, 0);
}

}  // namespace
}  // namespace foregate
