// The engine on the emulated GPU: how a device is chosen and reported, the same tokens as on the CPU, and what happens
// when memory is out or the device is lost.
#include <gtest/gtest.h>

#include <thread>

#include "engine/experts/expert_store.h"
#include "engine/runtime/boot.h"
#include "tests/cuda_host/emulated_module.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

constexpr int kOutOfMemory = 2;
constexpr int kIllegalAddress = 700;

class CudaBoot : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kEvictAtRelease) GTEST_SKIP() << "this flavour has no experts on a GPU";
    reset_module();
    options_.model = std::string(FOREGATE_SOURCE_DIR) + "/models/demo";
    options_.threads = 1;
    options_.max_num_seqs = 4;
    options_.max_num_batched_tokens = 64;
    options_.max_model_len = 128;
    options_.device = "cuda";
    options_.cuda_module = cuda_host_module();
  }
  void TearDown() override { reset_module(); }

  std::vector<SampleLog> answers(const BootOptions& options, EngineStats* stats = nullptr, std::int32_t tokens = 8) {
    auto booted = boot_engine(options);
    EXPECT_TRUE(booted.ok()) << booted.status().to_string();
    if (!booted.ok()) return {};
    std::vector<std::shared_ptr<CollectSink>> sinks;
    const char* const prompts[] = {"Once upon a time", "The little dog ran to"};
    for (std::size_t i = 0; i < 2; ++i) {
      sinks.push_back(std::make_shared<CollectSink>());
      Request request = make_request(i + 1, *(*booted)->tokenizer()->encode(prompts[i]), tokens);
      request.sampling.ignore_eos = true;
      EXPECT_TRUE((*booted)->engine().submit(request, sinks.back()).ok());
    }
    std::vector<SampleLog> logs;
    for (const auto& sink : sinks) {
      EXPECT_TRUE(sink->wait_finished(1));
      logs.push_back(sink->log());
    }
    while (!(*booted)->engine().idle()) std::this_thread::yield();
    if (stats != nullptr) *stats = (*booted)->engine().stats();
    return logs;
  }

  BootOptions options_;
};

TEST_F(CudaBoot, SameTokensAsOnTheCpu) {
  const std::uint64_t launches = module_launches();
  const auto on_gpu = answers(options_);
  EXPECT_GT(module_launches(), launches + 1000);
  options_.device = "cpu";
  const auto on_cpu = answers(options_);
  ASSERT_EQ(on_gpu.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(on_gpu[i].tokens.size(), 8u);
    EXPECT_EQ(on_gpu[i].tokens, on_cpu[i].tokens);
  }
  EXPECT_EQ(module_live_bytes(), 0u);
}

TEST_F(CudaBoot, SaysWhatWasChosenAndWhy) {
  Metrics metrics;
  options_.metrics = &metrics;
  auto booted = boot_model(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_NE((*booted)->report().device.find("cuda emulated device"), std::string::npos) << (*booted)->report().device;
  EXPECT_EQ((*booted)->report().isa, "cuda");
  EXPECT_NE((*booted)->report().device_reason.find("--device cuda: GPU 0 by"), std::string::npos);
  const std::string series = metrics.prometheus_text();
  EXPECT_NE(series.find("foregate_device_info{asked=\"cuda\",described=\"cuda emulated"), std::string::npos) << series;
  EXPECT_NE(series.find("reason=\"--device cuda: GPU 0 by"), std::string::npos) << series;
  options_.metrics = nullptr;
  options_.device = "auto";
  EXPECT_EQ((*boot_model(options_))->report().isa, "cuda");
  options_.cuda_module = "/nowhere/libforegate_cuda.so";
  auto without = boot_model(options_);
  ASSERT_TRUE(without.ok());
  EXPECT_NE((*without)->report().device.find("cpu"), std::string::npos);
  EXPECT_NE((*without)->report().device_reason.find("cpu: /nowhere"), std::string::npos)
      << (*without)->report().device_reason;
  options_.device = "cuda";
  EXPECT_EQ(boot_model(options_).status().code(), Code::kUnavailable);
  options_.device = "tpu";
  EXPECT_EQ(boot_model(options_).status().field(), "device");
}

// The option is the off switch: the same tokens, and figures that say which way they came.
TEST_F(CudaBoot, DenseProductsByALibraryAndWithout) {
  options_.cublaslt_rows = 0;
  EngineStats off;
  const auto without = answers(options_, &off, 2);
  EXPECT_EQ(off.library_products, 0u);
  options_.cublaslt_rows = 1;
  Metrics metrics;
  options_.metrics = &metrics;
  EngineStats on;
  const auto with = answers(options_, &on, 2);
  ASSERT_EQ(with.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(with[i].tokens, without[i].tokens);
  EXPECT_GT(on.library_products, 20u);
  EXPECT_EQ(on.library_refused, 0u);
  const std::string series = metrics.prometheus_text();
  EXPECT_NE(series.find("foregate_library_products_total{"), std::string::npos) << series;
  EXPECT_NE(series.find("foregate_library_missing{model_name=\"demo\"} 0"), std::string::npos) << series;
}

TEST_F(CudaBoot, OutOfDeviceMemoryRefusesTheModel) {
  fail_module_calls("cudaMalloc", kOutOfMemory, 3);
  auto booted = boot_model(options_);
  ASSERT_FALSE(booted.ok());
  EXPECT_EQ(booted.status().code(), Code::kResourceExhausted);
  EXPECT_NE(booted.status().message().find("device memory"), std::string::npos) << booted.status().to_string();
}

// Memory that runs out in the middle of a step is no different from a lost device.
TEST_F(CudaBoot, OutOfMemoryInAStepEndsEveryRequest) {
  auto booted = boot_engine(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  Engine& engine = (*booted)->engine();
  const auto tokens = *(*booted)->tokenizer()->encode("Once");
  const auto first = std::make_shared<CollectSink>();
  ASSERT_TRUE(engine.submit(make_request(1, tokens, 2), first).ok());
  ASSERT_TRUE(first->wait_finished(1));
  EXPECT_NE(*first->log().finish, FinishReason::kError);
  fail_module_calls("cudaMalloc", kOutOfMemory, 0);
  std::vector<std::shared_ptr<CollectSink>> sinks;
  for (std::uint64_t id = 2; id <= 3; ++id) {  // more rows than any step had
    sinks.push_back(std::make_shared<CollectSink>());
    Request request = make_request(id, std::vector<Token>(60, tokens.back()), 30);
    request.sampling.ignore_eos = true;
    ASSERT_TRUE(engine.submit(request, sinks.back()).ok());
  }
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait_finished(1));
    EXPECT_EQ(*sink->log().finish, FinishReason::kError);
    EXPECT_TRUE(sink->log().tokens.empty());
  }
  EXPECT_FALSE(engine.healthy());
  EXPECT_FALSE(engine.submit(make_request(9, tokens, 3), std::make_shared<CollectSink>()).ok());
}

// Exactly one terminal each, no partial answer that looks whole, and the engine says that it has failed.
TEST_F(CudaBoot, ALostDeviceEndsEveryRequest) {
  auto booted = boot_engine(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  Engine& engine = (*booted)->engine();
  const auto tokens = *(*booted)->tokenizer()->encode("Once upon a time");
  fail_module_calls("launch", kIllegalAddress, 300);  // some tokens later
  std::vector<std::shared_ptr<CollectSink>> sinks;
  for (std::uint64_t id = 1; id <= 3; ++id) {
    sinks.push_back(std::make_shared<CollectSink>());
    Request request = make_request(id, tokens, 100);
    request.sampling.ignore_eos = true;
    ASSERT_TRUE(engine.submit(request, sinks.back()).ok());
  }
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait_finished(1));
    const SampleLog log = sink->log();
    ASSERT_TRUE(log.finish.has_value());
    EXPECT_EQ(*log.finish, FinishReason::kError);
    EXPECT_LT(log.tokens.size(), 100u);
  }
  EXPECT_FALSE(engine.healthy());
  EXPECT_FALSE(engine.submit(make_request(9, tokens, 3), std::make_shared<CollectSink>()).ok());
}

}  // namespace
}  // namespace foregate
