// Blocks of their own for layers with a window, over real transformers of both kinds of layers and of windows alone:
// the same bytes as with blocks of all layers, whatever the batch, the chunks, the preemption and the prefix cache do;
// and what they leave to others.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "engine/runtime/boot.h"
#include "engine/spec/ngram_drafter.h"
#include "tests/engine/runtime/borrowed_model.h"
#include "tests/engine/runtime/same_answer.h"
#include "tests/engine/runtime/tree_oracle.h"

namespace foregate {
namespace {

using namespace testing_support;

struct Subject {
  const char* model;
  DType kv_type = DType::kF32;
};

constexpr std::int32_t kWindowRows = 16;  // of one step

class WindowGroups : public ::testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    BootOptions options;
    options.model = std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/" + GetParam().model;
    options.threads = 1;
    options.max_num_batched_tokens = 256;
    auto booted = boot_model(options);
    ASSERT_TRUE(booted.ok()) << booted.status().to_string();
    model_ = std::move(booted).value();
    setup_.kv_type = GetParam().kv_type;
    setup_.limits.vocab_size = model_->info().vocab_size;
    setup_.limits.max_model_len = model_->info().max_model_len;
    setup_.eos = model_->info().eos_token_ids;
    setup_.num_blocks = 1024;
    setup_.options.max_num_batched_tokens = 256;
    requests_ = mixed_requests(5, 12, model_->info().vocab_size, 1, 70, 24);
    requests_[4].prompt_logprobs = 3;
  }

  RunResult run(const EngineSetup& setup, Arrival arrival = Arrival::kTogether) {
    const ModelMaker maker = [this] { return std::make_unique<BorrowedModel>(model_->model()); };
    RunResult result = run_requests(setup, maker, requests_, arrival, 3);
    EXPECT_TRUE(result.ended);
    EXPECT_EQ(result.stats.kv_blocks_used, 0);
    EXPECT_EQ(result.stats.kv_window_blocks_total, setup.window_blocks);
    return result;
  }
  // One after the other, in blocks of all layers that nobody gives up.
  RunResult plainly() {
    EngineSetup plain = setup_;
    plain.num_blocks = 1024;
    plain.window_blocks = 0;
    plain.options.free_window_blocks = plain.options.prefix_caching = false;
    RunResult result = run(plain, Arrival::kOneByOne);
    EXPECT_EQ(result.stats.window_blocks_freed, 0u);
    return result;
  }
  static void expect_same(const RunResult& a, const RunResult& b) {
    const Difference difference = compare_runs(a, b);
    EXPECT_EQ(difference.answers, 0);
    EXPECT_EQ(difference.logits, 0);
    EXPECT_EQ(difference.compared, static_cast<std::int64_t>(a.record->rows.size()));
  }

  std::unique_ptr<BootedModel> model_;
  std::vector<Request> requests_;
  EngineSetup setup_;
};

TEST_P(WindowGroups, BatchedAndChunkedAreAlone) {
  const RunResult alone = plainly();
  for (const int block : {1, 4, 16}) {
    setup_.block_size = block;
    setup_.num_blocks = setup_.window_blocks = 2048 / block;
    for (const int rows : {256, kWindowRows}) {
      setup_.options.max_num_batched_tokens = rows;
      const RunResult result = run(setup_, rows == 256 ? Arrival::kRandom : Arrival::kTogether);
      expect_same(alone, result);
      EXPECT_GT(result.stats.window_blocks_freed, 0u);
      EXPECT_GT(result.stats.batched_steps, 0u);
      EXPECT_EQ(result.stats.chunked_prefills > 0, rows == kWindowRows);
    }
  }
}

TEST_P(WindowGroups, PreemptedAndSwappedAreAlone) {
  const RunResult alone = plainly();
  const auto expect = [&](std::int64_t blocks, std::int64_t window_blocks, int rows) {
    setup_.num_blocks = blocks;
    setup_.window_blocks = window_blocks;
    setup_.options.max_num_batched_tokens = rows;
    setup_.options.preemption = PreemptionMode::kRecompute;
    const RunResult result = run(setup_);
    expect_same(alone, result);
    EXPECT_GT(result.stats.preemptions, 0u);
    setup_.options.preemption = PreemptionMode::kSwap;
    setup_.options.swap_space_bytes = 1 << 24;
    const RunResult swapped = run(setup_);
    expect_same(alone, swapped);
    EXPECT_GT(swapped.stats.swaps_in, 0u);
  };
  setup_.options.max_num_seqs = 12;
  expect(26, 64, 256);           // the main group is short
  expect(256, 20, kWindowRows);  // the other one is
}

// Prompts that begin the same, at lengths around a block and around the window, asked together and again.
TEST_P(WindowGroups, PrefixHitsAreAlone) {
  std::vector<Request> family;
  for (const std::int32_t length : {3, 4, 5, 15, 16, 17, 31, 32, 33, 32, 47, 48}) {
    Request request = requests_[family.size()];
    const std::vector<Token> own = random_prompt(request.id.value, 9, model_->info().vocab_size);
    request.prompt = random_prompt(99, length, model_->info().vocab_size);
    if (length % 2 == 1) request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    request.prompt_logprobs.reset();
    family.push_back(request);
  }
  requests_ = family;
  const RunResult alone = plainly();
  for (const int block : {1, 4, 16}) {
    setup_.block_size = block;
    setup_.num_blocks = setup_.window_blocks = 2048 / block;
    for (const Arrival arrival : {Arrival::kOneByOne, Arrival::kTogether}) {
      const RunResult result = run(setup_, arrival);
      expect_same(alone, result);
      EXPECT_GT(result.stats.prefix_hits, 0u);
      EXPECT_EQ(result.stats.prefix_copies > 0, block > 1);
    }
  }
}

// A second turn starts with all of the first, though of its window blocks only the last are there.
TEST_P(WindowGroups, APrefixNeedsTheBlocksInsideTheWindow) {
  Request first = requests_[0];
  first.prompt = random_prompt(7, 120, model_->info().vocab_size);
  first.prompt_logprobs.reset();
  first.sampling.max_tokens = 8;
  first.sampling.ignore_eos = true;
  first.n = 1;
  setup_.options.max_num_batched_tokens = kWindowRows;
  setup_.window_blocks = 16;  // of 32 that the prompt has
  requests_ = {first, first};
  requests_[1].id = RequestId{first.id.value + 1000};
  const RunResult alone = plainly();
  const RunResult result = run(setup_, Arrival::kOneByOne);
  expect_same(alone, result);
  EXPECT_EQ(result.logs[1].cached_tokens, 119);
  EXPECT_GT(result.stats.window_blocks_freed, 20u);
}

// What many prompts begin with is found though it ends in the middle of a prompt that came in parts.
TEST_P(WindowGroups, APrefixInTheMiddleOfAPromptIsFound) {
  const std::vector<Token> common = random_prompt(8, 64, model_->info().vocab_size);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<Token> own = random_prompt(100 + i, 80, model_->info().vocab_size);
    requests_[i].prompt = common;
    requests_[i].prompt.insert(requests_[i].prompt.end(), own.begin(), own.end());
    requests_[i].prompt_logprobs.reset();
  }
  requests_.resize(3);
  setup_.options.max_num_batched_tokens = kWindowRows;
  setup_.window_blocks = 256;
  const RunResult alone = plainly();
  const RunResult result = run(setup_, Arrival::kOneByOne);
  expect_same(alone, result);
  EXPECT_EQ(result.logs[1].cached_tokens, 64);
  EXPECT_EQ(result.logs[2].cached_tokens, 64);
}

TEST_P(WindowGroups, WhatIsGivenUpServesOthers) {
  requests_ = mixed_requests(6, 8, model_->info().vocab_size, 1, 8, 1);
  for (Request& request : requests_) request.sampling.max_tokens = 88;
  const RunResult alone = plainly();
  // The same bytes: 8 sequences of 24 blocks at most, of which a window of 24 is in no more than seven.
  const KvLayout together = model_->model().kv_layout(setup_.kv_type, 4);
  KvLayout apart = together;
  apart.grouped = true;
  const std::int64_t bytes = 8 * 24 * apart.block_bytes(KvGroup::kMain) + 8 * 9 * apart.block_bytes(KvGroup::kWindow);
  setup_.num_blocks = bytes / together.block_bytes();
  setup_.options.free_window_blocks = false;
  const RunResult kept = run(setup_);
  expect_same(alone, kept);
  EXPECT_GT(kept.stats.preemptions, 0u);
  setup_.options.free_window_blocks = true;
  setup_.num_blocks = 8 * 24;
  setup_.window_blocks = 8 * 9;
  const RunResult result = run(setup_);
  expect_same(alone, result);
  EXPECT_EQ(result.stats.preemptions, 0u);
}

TEST_P(WindowGroups, DraftsChangeNothing) {
  const RunResult alone = plainly();
  setup_.num_blocks = setup_.window_blocks = 200;
  setup_.drafter = [] { return std::make_unique<NgramDrafter>(1, 3); };
  const RunResult result = run(setup_);
  for (std::size_t i = 0; i < requests_.size(); ++i) EXPECT_EQ(alone.logs[i].tokens, result.logs[i].tokens) << i;
  ASSERT_TRUE(result.stats.speculation.has_value());
  EXPECT_GT(result.stats.speculation->draft_tokens, 0u);
}

TEST_P(WindowGroups, DraftsThatAreTreesChangeNothing) {
  const RunResult alone = plainly();
  setup_.tree = wide_tree();
  setup_.drafter = [&] { return std::make_unique<TreeOracle>(requests_, alone.logs, setup_.limits.vocab_size); };
  for (const std::int64_t window_blocks : {0, 200}) {  // in one group, and in two
    for (const int block : {3, 4}) {
      setup_.block_size = block;
      setup_.num_blocks = 200;
      setup_.window_blocks = window_blocks;
      const RunResult result = run(setup_);
      expect_same(alone, result);
      const SpecFigures& figures = *result.stats.speculation;
      EXPECT_GT(figures.branches_accepted, 0u);
      EXPECT_GT(figures.positions_moved, 0u);
      EXPECT_GE(result.stats.window_blocks_freed, window_blocks > 0 ? 1u : 0u);
    }
  }
}

TEST_P(WindowGroups, WhatCanNeverFitIsRefused) {
  setup_.window_blocks = 4;  // fewer than a window and a row
  const ModelMaker maker = [this] { return std::make_unique<BorrowedModel>(model_->model()); };
  const auto engine = engine_of(setup_, maker());
  const auto sink = std::make_shared<CollectSink>();
  Request request = make_request(1, random_prompt(1, 20, model_->info().vocab_size), 1);
  const Status refused = engine->submit(request, sink);
  EXPECT_EQ(refused.code(), Code::kInvalidArgument);
  EXPECT_NE(refused.message().find("5 KV blocks of 4 positions for layers with a window, there are 4"),
            std::string::npos)
      << refused.message();
  request.prompt.resize(16);
  EXPECT_TRUE(engine->submit(request, sink).ok());
  EXPECT_TRUE(sink->wait_finished(1));
}

INSTANTIATE_TEST_SUITE_P(SameAnswer, WindowGroups,
                         ::testing::Values(Subject{"smallthinker-sigmoid-layouts"}, Subject{"qwen2-moe-mixed-layers"},
                                           Subject{"mixtral-window-top1-tied"},
                                           Subject{"smallthinker-sigmoid-layouts", DType::kI8}),
                         [](const auto& info) {
                           std::string name = info.param.model;
                           if (info.param.kv_type != DType::kF32) name += "_int8";
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace foregate
