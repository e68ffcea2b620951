// One budget for KV blocks and experts in the memory of a device: a burst takes pages from the experts, which get them
// back; the tokens are those of a device that holds everything; and pages are never more than the budget.
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "engine/experts/expert_store.h"
#include "engine/runtime/boot.h"
#include "kernels/registry/gpu.h"
#include "tests/cuda_host/emulated_module.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/runtime/borrowed_model.h"
#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

constexpr const char* kModel = "qwen3-moe-top4-norm";
constexpr std::int32_t kBlock = 16;
constexpr std::int32_t kMostBlocks = 64;

DriverOptions on_device() {
  DriverOptions options;
  options.isa = "auto";
  options.cuda_module = cuda_host_module();
  options.blocks = 1;  // the driver's own cache is not used
  return options;
}

EngineSetup setup_of(const Transformer& model, std::int32_t blocks) {
  EngineSetup setup;
  setup.options.max_num_seqs = 8;
  setup.options.max_num_batched_tokens = 64;
  setup.block_size = kBlock;
  setup.num_blocks = blocks;
  setup.limits.vocab_size = model.vocab_size();
  setup.limits.max_model_len = 8 * kBlock;
  return setup;
}

std::unique_ptr<Engine> engine_of(EngineParts parts, const Device& device) {
  parts.device = const_cast<Device*>(&device);
  auto made = make_engine(std::move(parts));
  EXPECT_TRUE(made.ok()) << made.status().to_string();
  return std::move(made).value();
}

// As they lie in the store and on the device.
std::uint64_t all_expert_bytes() {
  DriverOptions options = on_device();
  ExpertLoading& loading = options.experts.emplace();
  loading.store.budget_bytes = UINT64_MAX;
  loading.tier = DeviceTierOptions{.budget_bytes = UINT64_MAX};
  Driver driver(golden_dir(kModel), options);
  return driver.model().store()->table().bytes();
}

// Everything on the device, each with memory of its own.
struct Fixed {
  Driver driver{golden_dir(kModel), on_device()};
  std::unique_ptr<Engine> engine() {
    EngineParts parts =
        parts_of(setup_of(driver.model(), kMostBlocks), std::make_unique<BorrowedModel>(driver.model()));
    auto& device = const_cast<Device&>(driver.device());
    parts.cache =
        std::move(KvCache::create(device, driver.model().kv_layout(DType::kF32, kBlock), kMostBlocks)).value();
    return engine_of(std::move(parts), device);
  }
};

// Nine tenths of the experts and as few blocks as there may be, out of pages of one budget.
struct Shared {
  Backend gpu;
  std::shared_ptr<PageSource> pages;
  std::unique_ptr<Driver> driver;
  KvLayout layout;
  std::int32_t unit = 0;
  std::int64_t budget = 0;

  Shared() {
    std::string error;
    gpu = make_gpu_backend({.module = cuda_host_module()}, &error);
    EXPECT_NE(gpu.device, nullptr) << error;
    pages = gpu.device->create_pages(&error);
    EXPECT_NE(pages, nullptr) << error;
  }
  bool load(std::uint64_t all_experts, const KvLayout& kv) {
    layout = kv;
    unit = KvCache::unit_blocks(layout, pages->page_bytes());
    const std::uint64_t experts = all_experts * 9 / 10 / pages->page_bytes() * pages->page_bytes();
    budget = unit * layout.block_bytes() + static_cast<std::int64_t>(experts);
    if (!pages->hold(static_cast<std::size_t>(budget))) return false;
    DriverOptions options = on_device();
    ExpertLoading& loading = options.experts.emplace();
    loading.store.budget_bytes = UINT64_MAX;
    loading.tier = DeviceTierOptions{
        .budget_bytes = experts, .elastic = {pages.get(), all_experts / 5, all_experts}, .policy = "lru"};
    driver = std::make_unique<Driver>(golden_dir(kModel), options);
    return true;
  }
  std::unique_ptr<Engine> engine() {
    EngineParts parts = parts_of(setup_of(driver->model(), unit), std::make_unique<BorrowedModel>(driver->model()));
    auto& device = const_cast<Device&>(driver->device());
    auto cache = KvCache::create_elastic(device, *pages, layout, kMostBlocks / unit * unit);
    EXPECT_TRUE(cache.ok() && cache->take(BlockId{0}, unit)) << cache.status().to_string();
    parts.cache = std::move(cache).value();
    parts.elastic = {
        .budget_bytes = budget, .block_bytes = layout.block_bytes(), .present_blocks = unit, .least_blocks = unit};
    parts.elastic.rules = {
        .sustain_seconds = 0.002, .interval_seconds = 0.001, .bytes_per_interval = budget, .reserve_blocks = 0};
    return engine_of(std::move(parts), device);
  }
};

std::vector<Request> burst(std::int32_t vocab, std::int32_t tokens) {
  std::vector<Request> requests;
  for (std::uint64_t id = 1; id <= 2; ++id) {
    requests.push_back(make_request(id, random_prompt(id, 80, vocab), tokens));
    requests.back().sampling.ignore_eos = true;
    requests.back().sampling.seed = id;
  }
  return requests;
}

class CudaElastic : public ::testing::Test {
 protected:
  void SetUp() override { reset_module(); }
  void TearDown() override { reset_module(); }
};

TEST_F(CudaElastic, BlocksAndExpertsExchangePages) {
  {
    Fixed fixed;
    const std::vector<Request> requests = burst(fixed.driver.model().vocab_size(), 16);
    const auto expected = answers_of(*fixed.engine(), requests, false);
    Shared shared;
    ASSERT_TRUE(shared.load(all_expert_bytes(), fixed.driver.model().kv_layout(DType::kF32, kBlock)));
    const auto engine = shared.engine();
    const ElasticFigures start = *engine->stats().elastic;
    EXPECT_LE(start.cache_bytes + start.expert_bytes, start.budget_bytes);
    EXPECT_EQ(answers_of(*engine, requests, true), expected);
    EngineStats stats = engine->stats();
    EXPECT_EQ(stats.preemptions, 0u);
    EXPECT_GT(stats.elastic->moves_to_cache, 0u);
    EXPECT_GE(stats.elastic->bytes_to_cache, static_cast<std::uint64_t>(shared.unit * shared.layout.block_bytes()));
    EXPECT_LE(stats.elastic->cache_bytes + stats.elastic->expert_bytes, stats.elastic->budget_bytes);
    // Short requests one after the other: blocks lie idle and experts are missed.
    std::vector<Request> few = burst(fixed.driver.model().vocab_size(), 4);
    for (int i = 0; i < 20 && engine->stats().elastic->moves_to_experts == 0; ++i) {
      for (Request& request : few) request.id = RequestId{request.id.value + 100};
      const auto answers = answers_of(*engine, few, false);
      for (std::size_t at = 0; at < few.size(); ++at) {
        ASSERT_TRUE(std::equal(answers[at].begin(), answers[at].end(), expected[at].begin()));
      }
    }
    stats = engine->stats();
    EXPECT_GT(stats.elastic->moves_to_experts, 0u);
    EXPECT_GT(stats.elastic->bytes_to_experts, 0u);
    EXPECT_LE(stats.elastic->cache_bytes + stats.elastic->expert_bytes, stats.elastic->budget_bytes);
    EXPECT_EQ(answers_of(*engine, burst(fixed.driver.model().vocab_size(), 16), true), expected);  // and again
    EXPECT_GT(module_symbol<std::uint64_t()>("foregate_cuda_host_unmaps")(), 0u);
    const DeviceTierStats tier = shared.driver->model().weights().tier->stats();
    EXPECT_GT(tier.misses, 0u);
    std::printf("%llu moves to the cache, %llu to the experts\n",
                static_cast<unsigned long long>(stats.elastic->moves_to_cache),
                static_cast<unsigned long long>(stats.elastic->moves_to_experts));
  }
  EXPECT_EQ(module_live_bytes(), 0u);
}

// A driver that gives no more pages: nothing becomes more, requests wait for blocks and end as they should.
TEST_F(CudaElastic, PagesThatDoNotComeChangeNothing) {
  Fixed fixed;
  const std::vector<Request> requests = burst(fixed.driver.model().vocab_size(), 8);
  const auto expected = answers_of(*fixed.engine(), requests, false);
  Shared shared;
  ASSERT_TRUE(shared.load(all_expert_bytes(), fixed.driver.model().kv_layout(DType::kF32, kBlock)));
  const auto engine = shared.engine();
  fail_module_calls("cuMemMap", 2, 0);
  EXPECT_EQ(answers_of(*engine, requests, true), expected);
  EXPECT_EQ(engine->stats().elastic->moves_to_cache, 0u);
  EXPECT_TRUE(engine->healthy());
}

class CudaElasticBoot : public CudaElastic {
 protected:
  void SetUp() override {
    if (kEvictAtRelease) GTEST_SKIP() << "this flavour has no experts on a GPU";
    CudaElastic::SetUp();
  }
  CudaElasticBoot() {
    options_.model = demo_dir();
    options_.threads = 1;
    options_.max_num_seqs = 2;
    options_.max_num_batched_tokens = 64;
    options_.max_model_len = 128;
    options_.device = "cuda";
    options_.cuda_module = cuda_host_module();
    options_.cost_calibration = false;
  }
  std::vector<Token> answer(EngineStats* stats) {
    auto booted = boot_engine(options_);
    EXPECT_TRUE(booted.ok()) << booted.status().to_string();
    if (!booted.ok()) return {};
    const auto sink = std::make_shared<CollectSink>();
    Request request = make_request(1, *(*booted)->tokenizer()->encode("Once upon a time"), 4);
    request.sampling.ignore_eos = true;
    EXPECT_TRUE((*booted)->engine().submit(request, sink).ok());
    EXPECT_TRUE(sink->wait_finished(1));
    EXPECT_TRUE(wait_idle((*booted)->engine()));
    *stats = (*booted)->engine().stats();
    return sink->log().tokens;
  }
  BootOptions options_;
};

TEST_F(CudaElasticBoot, TheOptionAndItsLimits) {
  EngineStats stats;
  const std::vector<Token> expected = answer(&stats);
  EXPECT_FALSE(stats.elastic.has_value());
  options_.elastic_bytes = 3 << 20;
  Metrics metrics;
  options_.metrics = &metrics;
  EXPECT_EQ(answer(&stats), expected);
  ASSERT_TRUE(stats.elastic.has_value() && stats.tier.has_value());
  EXPECT_LE(stats.elastic->cache_bytes + stats.elastic->expert_bytes, stats.elastic->budget_bytes);
  EXPECT_EQ(stats.elastic->slots, stats.tier->slots);
  EXPECT_NE(metrics.prometheus_text().find("foregate_elastic_expert_bytes{"), std::string::npos);
  options_.metrics = nullptr;
  options_.expert_device_memory = "50%";
  EXPECT_EQ(boot_model(options_).status().field(), "expert_device_memory");
  options_.expert_device_memory = "auto";
  options_.cpu_moe = true;
  EXPECT_EQ(boot_model(options_).status().field(), "elastic_memory");
  options_.cpu_moe = false;
  fail_module_calls("cuMemCreate", 2, 20);
  EXPECT_EQ(boot_model(options_).status().code(), Code::kResourceExhausted);
  reset_module();
  fail_module_calls("cudaGetDriverEntryPoint", 2, 0);
  EXPECT_EQ(boot_model(options_).status().field(), "elastic_memory");
  reset_module();
  EXPECT_EQ(module_live_bytes(), 0u);
}

}  // namespace
}  // namespace foregate
