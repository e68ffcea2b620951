// What a repetition counts: rows, logits and bytes, at every depth and batch. Nothing here looks at a time.
#include "tools/bench/bench_run.h"

#include <gtest/gtest.h>

#include "tools/bench/shape_model.h"

namespace foregate {
namespace {

std::unique_ptr<BootedModel> tiny() {
  auto booted = boot_shape({.shape = "tiny", .quantization = "q8_0", .threads = 1, .max_num_batched_tokens = 512});
  CHECK(booted.ok());
  return std::move(booted).value();
}

BenchSample sample_of(BootedModel& booted, const BenchTest& test) {
  auto run = BenchRun::create(booted.model(), booted.device(), test);
  CHECK(run.ok() && run->prepare(1, true).ok());
  return run->repeat(2).value();
}

TEST(BenchRun, CountsRowsAndTheLogitsOfLastTokens) {
  const auto booted = tiny();
  const BenchSample prefill = sample_of(*booted, {.prompt_tokens = 70, .batch = 3, .chunk_tokens = 32});
  EXPECT_EQ(prefill.rows, 210);
  EXPECT_EQ(prefill.logits, 3);  // one a prompt, however many chunks it takes
  const BenchSample decode = sample_of(*booted, {.prompt_tokens = 0, .generated_tokens = 5, .batch = 3});
  EXPECT_EQ(decode.rows, 15);
  EXPECT_EQ(decode.logits, 15);
  EXPECT_GT(decode.seconds, 0.0);
  const BenchSample both = sample_of(*booted, {.prompt_tokens = 8, .generated_tokens = 2, .chunk_tokens = 32});
  EXPECT_EQ(both.rows, 10);
}

TEST(BenchRun, DepthAddsTheKeysAndValuesOfTheContext) {
  const auto booted = tiny();
  constexpr double kPositionBytes = 4 * 2.0 * 4 * 64 * 4;  // layers, k and v, heads, head_dim, f32
  const BenchTest shallow{.prompt_tokens = 0, .generated_tokens = 4};
  BenchTest deep = shallow;
  deep.depth = 100;
  const double more = sample_of(*booted, deep).bytes - sample_of(*booted, shallow).bytes;
  EXPECT_DOUBLE_EQ(more, 4 * 100 * kPositionBytes);
  deep.kv_type = DType::kF16;
  BenchTest halved = shallow;
  halved.kv_type = DType::kF16;
  EXPECT_DOUBLE_EQ(sample_of(*booted, deep).bytes - sample_of(*booted, halved).bytes, 0.5 * more);
}

TEST(BenchRun, GivesTheSameLogitsHoweverDeepTheWarmUp) {
  const auto booted = tiny();
  const auto logits = [&](bool warm_up) {
    auto run =
        BenchRun::create(booted->model(), booted->device(),
                         {.prompt_tokens = 0, .generated_tokens = 6, .batch = 2, .depth = 40, .chunk_tokens = 32});
    CHECK(run.ok() && run->prepare(1, warm_up).ok() && run->repeat(2).ok());
    return run->logits();
  };
  EXPECT_EQ(logits(true), logits(false));
}

TEST(BenchRun, RefusesWhatCannotRun) {
  const auto booted = tiny();
  const auto status = [&](const BenchTest& test) {
    return BenchRun::create(booted->model(), booted->device(), test).status();
  };
  EXPECT_EQ(status({.prompt_tokens = 0}).code(), Code::kInvalidArgument);
  const Status large = status({.prompt_tokens = 1 << 20, .batch = 1024, .depth = 1 << 20});
  EXPECT_EQ(large.code(), Code::kResourceExhausted);
  EXPECT_NE(large.message().find("1024 x 2097152 tokens"), std::string::npos) << large.message();
}

}  // namespace
}  // namespace foregate
