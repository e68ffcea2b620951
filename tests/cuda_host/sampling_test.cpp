// Sampling where the logits are: the tokens of the CPU's sampler for the same rows and draws, and by the engine with
// requests of every kind, with and without it.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "engine/experts/expert_store.h"
#include "engine/runtime/boot.h"
#include "engine/sample/device_rule.h"
#include "kernels/registry/gpu.h"
#include "tests/cuda_host/emulated_module.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

std::uint64_t g_state = 1;
double next_uniform() {
  g_state = g_state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(g_state >> 11) * 0x1p-53;
}

SamplingParams params_of(std::size_t i) {
  SamplingParams params;
  params.temperature = i % 5 == 0 ? 0.0f : 0.4f + 0.3f * static_cast<float>(i % 5);
  params.top_k = i % 3 == 0 ? static_cast<std::int32_t>(1 + i % 40) : 0;
  params.top_p = i % 2 == 0 ? 1.0f : 0.3f + 0.1f * static_cast<float>(i % 7);
  params.min_p = i % 4 == 3 ? 0.02f : 0.0f;
  return params;
}

TEST(DeviceSampling, TheTokensOfTheCpuSampler) {
  constexpr std::size_t kRows = 192;
  constexpr std::int32_t kVocab = 1111;
  std::string error;
  const Backend gpu = make_gpu_backend({.module = cuda_host_module()}, &error);
  ASSERT_NE(gpu.device, nullptr) << error;
  const auto stream = gpu.device->create_stream();
  std::vector<float> logits(kRows * kVocab);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto value = static_cast<float>(12 * next_uniform() - 6);
    logits[i] = i / kVocab % 4 == 1 ? std::round(value) : value;  // with ties
  }
  const Memory there = gpu.device->allocate(logits.size() * sizeof(float));
  const Memory tokens_there = gpu.device->allocate(kRows * sizeof(Token));
  stream->upload(there.data(), logits.data(), logits.size() * sizeof(float));
  Sampler sampler(kVocab);
  const std::vector<Token> prompt(5, 1);
  std::vector<SampleRule> rules;
  std::vector<Token> expected;
  for (std::size_t r = 0; r < kRows; ++r) {
    const SamplingParams params = params_of(r);
    SampleInput input;
    input.logits = {logits.data() + r * kVocab, kVocab};
    input.prompt = prompt;
    input.params = &params;
    input.seed = 100 + r;
    input.index = static_cast<std::int32_t>(r % 3);
    rules.push_back(*device_rule(input, 0));
    expected.push_back(sampler.sample(input)->token);
  }
  auto* const out = reinterpret_cast<std::int32_t*>(tokens_there.data());
  gpu.ops.sample(*stream, {.logits = {reinterpret_cast<const float*>(there.data()), kRows, kVocab, kVocab},
                           .rules = rules.data(),
                           .tokens = out});
  std::vector<Token> tokens(kRows);
  stream->download(tokens.data(), out, kRows * sizeof(Token));
  stream->synchronize();
  ASSERT_EQ(stream->failure(), nullptr);
  EXPECT_EQ(tokens, expected);
}

TEST(DeviceSampling, OnlyRowsThatNobodyHasToSee) {
  SamplingParams params;
  const std::vector<Token> tokens(3, 1);
  SampleInput input;
  input.params = &params;
  input.prompt = tokens;
  EXPECT_TRUE(device_rule(input, 0).has_value());
  const auto refused = [&](auto change) {
    SamplingParams changed;
    change(changed);
    input.params = &changed;
    return !device_rule(input, 0).has_value();
  };
  EXPECT_TRUE(refused([](SamplingParams& p) { p.logprobs = 0; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.repetition_penalty = 1.1f; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.presence_penalty = 0.1f; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.frequency_penalty = 0.1f; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.logit_bias = {{3, 1.0f}}; }));
  EXPECT_TRUE(refused([](SamplingParams& p) { p.min_tokens = 1; }));
  SamplingParams later;
  later.min_tokens = 1;
  input.params = &later;
  EXPECT_TRUE(device_rule(input, 1).has_value());
  const std::vector<std::uint64_t> all = {~std::uint64_t{0}};
  input.params = &params;
  input.allowed = all;
  EXPECT_FALSE(device_rule(input, 0).has_value());
}

// Requests of every kind beside each other; those that need their logits get them.
std::vector<SampleLog> answers(bool on_device, EngineStats& stats) {
  BootOptions options;
  options.model = demo_dir();
  options.threads = 1;
  options.max_num_seqs = 8;
  options.max_model_len = 96;
  options.device = "cuda";
  options.cuda_module = cuda_host_module();
  options.device_sampling = on_device;
  options.speculative_config = R"({"method": "ngram", "num_speculative_tokens": 3})";
  auto booted = boot_engine(options);
  EXPECT_TRUE(booted.ok()) << booted.status().to_string();
  std::vector<std::shared_ptr<CollectSink>> sinks;
  const auto prompt = *(*booted)->tokenizer()->encode("Once upon a time there was a dog. Once upon a");
  for (std::uint64_t i = 0; i < 6; ++i) {
    sinks.push_back(std::make_shared<CollectSink>());
    Request request = make_request(i + 1, prompt, 4);
    request.sampling.ignore_eos = i != 5;
    request.sampling.temperature = i < 2 ? 0.0f : 0.9f;
    request.sampling.top_p = 0.95f;
    request.sampling.seed = 40 + i;
    if (i == 1) request.sampling.logprobs = 2;
    if (i == 3) request.sampling.repetition_penalty = 1.2f;
    if (i == 4) request.prompt_logprobs = 1;
    EXPECT_TRUE((*booted)->engine().submit(request, sinks.back()).ok());
  }
  std::vector<SampleLog> logs;
  for (const auto& sink : sinks) {
    EXPECT_TRUE(sink->wait_finished(1));
    logs.push_back(sink->log());
  }
  while (!(*booted)->engine().idle()) std::this_thread::yield();
  stats = (*booted)->engine().stats();
  return logs;
}

TEST(DeviceSampling, TheEngineAnswersTheSame) {
  if (kEvictAtRelease) GTEST_SKIP() << "this flavour has no experts on a GPU";
  reset_module();
  EngineStats with, without;
  const auto on_device = answers(true, with);
  const auto on_host = answers(false, without);
  ASSERT_EQ(on_device.size(), on_host.size());
  for (std::size_t i = 0; i < on_host.size(); ++i) {
    EXPECT_EQ(on_device[i].tokens, on_host[i].tokens) << i;
    EXPECT_EQ(on_device[i].logprobs.size(), on_host[i].logprobs.size()) << i;
    EXPECT_EQ(on_device[i].finish, on_host[i].finish) << i;
  }
  EXPECT_EQ(without.device_sampled, 0u);
  EXPECT_GT(with.graph_launches, 0u);
  EXPECT_GE(with.device_sampled, 4u * 3u);  // four of the six; a draft's rows count too
  EXPECT_LT(with.device_sampled, with.generated_tokens + 3 * with.steps);
}

}  // namespace
}  // namespace foregate
