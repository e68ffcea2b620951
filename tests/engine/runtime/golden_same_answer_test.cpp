// The same promise as same_answer_test.cpp over real transformers: the tiny golden models and GGUF models of
// quantized blocks, with the CPU tables, batch widths, chunk sizes, block sizes, thread counts and preemption. Byte for
// byte.
#include <gtest/gtest.h>

#include <string>

#include "engine/runtime/boot.h"
#include "kernels/registry/registry.h"
#include "tests/engine/model/made_gguf.h"
#include "tests/engine/runtime/borrowed_model.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

// A directory of tests/golden, or "made-<type>": a random GGUF model of that type.
std::string path_of(const std::string& name) {
  if (!name.starts_with("made-")) return std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/" + name;
  MadeModel model{.arch = "olmoe", .hidden = 256, .kv_heads = 4, .head_dim = 64, .width = 256};
  model.matrices = name == "made-q4_0" ? DType::kQ4_0 : DType::kQ4_K;
  model.down = name == "made-q4_0" ? DType::kQ8_0 : DType::kQ6_K;
  return write_gguf(made_gguf(model), name + ".gguf");
}

std::unique_ptr<BootedModel> load(const std::string& name, int threads, const std::string& isa = "auto") {
  BootOptions options;
  options.model = path_of(name);
  options.threads = threads;
  options.isa = isa;
  options.max_num_batched_tokens = 256;
  auto booted = boot_model(options);
  EXPECT_TRUE(booted.ok()) << booted.status().to_string();
  CHECK(booted.ok());
  return std::move(booted).value();
}

struct Subject {
  const char* model;
  DType kv_type = DType::kF32;
};

class GoldenModel : public ::testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    model_ = load(GetParam().model, 1);
    setup_.kv_type = GetParam().kv_type;
    requests_ = mixed_requests(5, 16, model_->info().vocab_size, 1, 60, 24);
    requests_[4].prompt_logprobs = 3;
    setup_.limits.vocab_size = model_->info().vocab_size;
    setup_.limits.max_model_len = model_->info().max_model_len;
    setup_.eos = model_->info().eos_token_ids;
    setup_.num_blocks = 1024;
    setup_.options.max_num_batched_tokens = 256;
    EngineSetup one_by_one = setup_;
    alone_ = run_requests(one_by_one, maker(*model_), requests_, Arrival::kOneByOne);
    ASSERT_TRUE(alone_.ended);
    ASSERT_EQ(alone_.stats.batched_steps, 0u);
    ASSERT_EQ(alone_.stats.chunked_prefills, 0u);
  }

  static ModelMaker maker(BootedModel& model) {
    return [&model] { return std::make_unique<BorrowedModel>(model.model()); };
  }

  RunResult run(const EngineSetup& setup, BootedModel& model, Arrival arrival = Arrival::kTogether) {
    RunResult result = run_requests(setup, maker(model), requests_, arrival, 3);
    EXPECT_TRUE(result.ended);
    return result;
  }

  void expect_same(const RunResult& result) {
    const Difference difference = compare_runs(alone_, result);
    EXPECT_EQ(difference.answers, 0);
    EXPECT_EQ(difference.logits, 0);
    EXPECT_EQ(difference.compared, static_cast<std::int64_t>(alone_.record->rows.size()));
    EXPECT_EQ(result.stats.kv_blocks_used, 0);
  }

  std::unique_ptr<BootedModel> model_;
  std::vector<Request> requests_;
  EngineSetup setup_;
  RunResult alone_;
};

TEST_P(GoldenModel, BatchWidths) {
  for (int width : {2, 8, 32}) {
    setup_.options.max_num_seqs = width;
    for (Arrival arrival : {Arrival::kTogether, Arrival::kRandom}) {
      const RunResult result = run(setup_, *model_, arrival);
      expect_same(result);
      EXPECT_GT(result.stats.batched_steps, 0u);
    }
  }
}

TEST_P(GoldenModel, PrefillChunks) {
  for (int chunk : {1, 7, 16, 64}) {
    setup_.options.max_prefill_chunk = chunk < 60 ? chunk : 0;
    setup_.options.max_num_batched_tokens = chunk < 60 ? 256 : chunk;
    const RunResult result = run(setup_, *model_);
    expect_same(result);
    EXPECT_GT(result.stats.chunked_prefills, 0u);
  }
}

TEST_P(GoldenModel, BlockSizes) {
  for (int block : {1, 16}) {
    setup_.block_size = block;
    setup_.num_blocks = 4096 / block;
    expect_same(run(setup_, *model_));
  }
}

TEST_P(GoldenModel, Preemption) {
  setup_.num_blocks = 24;                     // 96 positions, one request may need 83
  setup_.options.free_window_blocks = false;  // or there would be room
  const RunResult result = run(setup_, *model_);
  expect_same(result);
  EXPECT_GT(result.stats.preemptions, 0u);
  setup_.options.preemption = PreemptionMode::kSwap;
  setup_.options.swap_space_bytes = 1 << 24;
  const RunResult swapped = run(setup_, *model_);
  expect_same(swapped);
  EXPECT_GT(swapped.stats.swaps_in, 0u);
}

// Prompts that begin the same, at lengths around a block, asked together and again.
TEST_P(GoldenModel, PrefixHits) {
  std::vector<Request> family;
  for (std::int32_t length : {3, 4, 5, 15, 16, 17, 31, 32, 33, 32, 16, 4, 40, 40}) {
    Request request = requests_[family.size()];
    const std::vector<Token> own = random_prompt(request.id.value, 9, model_->info().vocab_size);
    request.prompt = random_prompt(99, length, model_->info().vocab_size);
    if (length % 2 == 1) request.prompt.insert(request.prompt.end(), own.begin(), own.end());
    request.prompt_logprobs.reset();
    family.push_back(request);
  }
  requests_ = family;
  for (int block : {1, 4, 16}) {
    setup_.block_size = block;
    setup_.num_blocks = 4096 / block;
    setup_.options.prefix_caching = false;
    alone_ = run(setup_, *model_, Arrival::kOneByOne);
    EXPECT_EQ(alone_.stats.prefix_hits, 0u);
    setup_.options.prefix_caching = true;
    for (Arrival arrival : {Arrival::kOneByOne, Arrival::kTogether, Arrival::kRandom}) {
      const RunResult result = run(setup_, *model_, arrival);
      expect_same(result);
      EXPECT_GT(result.stats.prefix_hits, 0u);
      EXPECT_EQ(result.stats.prefix_copies > 0, block > 1);
    }
  }
}

TEST_P(GoldenModel, TwoThreads) {
  const auto other = load(GetParam().model, 2);
  ASSERT_EQ(other->report().threads, 2);
  const RunResult result = run(setup_, *other);
  expect_same(result);
  EXPECT_GT(result.stats.batched_steps, 0u);
}

// Each table keeps the promise within itself: alone and batched agree whatever the ISA.
TEST_P(GoldenModel, EveryIsa) {
  for (const std::string& isa : runnable_isas()) {
    const auto other = load(GetParam().model, 1, isa);
    ASSERT_EQ(other->report().isa, isa);
    setup_.options.max_prefill_chunk = 0;
    const RunResult one = run(setup_, *other, Arrival::kOneByOne);
    setup_.options.max_prefill_chunk = 7;
    const RunResult many = run(setup_, *other, Arrival::kTogether);
    const Difference difference = compare_runs(one, many);
    EXPECT_EQ(difference.answers, 0) << isa;
    EXPECT_EQ(difference.logits, 0) << isa;
    EXPECT_EQ(difference.compared, static_cast<std::int64_t>(one.record->rows.size())) << isa;
    EXPECT_GT(many.stats.chunked_prefills, 0u);
    EXPECT_GT(many.stats.batched_steps, 0u);
  }
}

// A model of windows alone: blocks behind them are given up, which changes no bit, and leaves more to others.
class WindowedModel : public GoldenModel {};

TEST_P(WindowedModel, BlocksBehindTheWindowAreGivenUp) {
  setup_.options.free_window_blocks = false;
  const RunResult kept = run(setup_, *model_);
  expect_same(kept);
  EXPECT_EQ(kept.stats.window_blocks_freed, 0u);
  setup_.options.free_window_blocks = true;
  for (const bool prefixes : {true, false}) {
    for (const int block : {1, 4, 16}) {
      setup_.block_size = block;
      setup_.num_blocks = 4096 / block;
      setup_.options.prefix_caching = prefixes;
      const RunResult freed = run(setup_, *model_);
      expect_same(freed);
      EXPECT_GT(freed.stats.window_blocks_freed, 0u) << block;
    }
  }
}

TEST_P(WindowedModel, WhatIsGivenUpServesOthers) {
  requests_ = mixed_requests(6, 8, model_->info().vocab_size, 1, 8, 1);
  for (Request& request : requests_) request.sampling.max_tokens = 88;
  setup_.num_blocks = 8 * 9;  // a window of 24 is in no more than seven blocks of four, and one is being filled
  setup_.options.free_window_blocks = false;
  alone_ = run(setup_, *model_);
  EXPECT_GT(alone_.stats.preemptions, 0u);
  setup_.options.free_window_blocks = true;
  const RunResult freed = run(setup_, *model_);
  expect_same(freed);
  EXPECT_EQ(freed.stats.preemptions, 0u);
}

INSTANTIATE_TEST_SUITE_P(SameAnswer, WindowedModel,
                         ::testing::Values(Subject{"mixtral-window-top1-tied"},
                                           Subject{"mixtral-window-top1-tied", DType::kI8}),
                         [](const auto& info) { return std::string(dtype_name(info.param.kv_type)); });

INSTANTIATE_TEST_SUITE_P(
    SameAnswer, GoldenModel,
    ::testing::Values(Subject{"mixtral-gqa-top2"}, Subject{"olmoe-mha-top8"}, Subject{"qwen2-moe-shared-top4"},
                      Subject{"qwen3-moe-top4-norm"}, Subject{"mixtral-window-top1-tied"}, Subject{"qwen3-dense-tied"},
                      Subject{"made-q4_0"}, Subject{"made-q4_k_m"}, Subject{"mixtral-gqa-top2", DType::kI8},
                      Subject{"mixtral-window-top1-tied", DType::kI8}, Subject{"made-q4_k_m", DType::kI8}),
    [](const auto& info) {
      std::string name = info.param.model;
      if (info.param.kv_type != DType::kF32) name += std::string("_") + dtype_name(info.param.kv_type);
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace foregate
