// Experts that the device does not all hold: the same bits at every budget when missed ones are fetched, whether they
// come from host memory or from disk; the same tokens when the host computes some; what is counted; faults.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "engine/experts/expert_store.h"
#include "engine/experts/miss_split.h"
#include "engine/io/local_file.h"
#include "engine/io/output.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/device_memory.h"
#include "tests/cuda_host/emulated_module.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/model/packing.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;
using namespace packing;

constexpr const char* kModel = "qwen3-moe-top4-norm";
constexpr std::uint64_t kAll = UINT64_MAX;

struct Shares {
  std::uint64_t device = kAll;  // bytes
  std::uint64_t host = kAll;
  MissRule rule = MissRule::kFetch;
  std::int32_t host_layers = 0;
};

DriverOptions with_tiers(const Shares& shares, const FileSystem* files = nullptr) {
  DriverOptions options;
  options.files = files;
  options.isa = "auto";
  options.cuda_module = cuda_host_module();
  ExpertLoading& loading = options.experts.emplace();
  loading.store.budget_bytes = shares.host;
  loading.tier =
      DeviceTierOptions{.budget_bytes = shares.device, .misses = shares.rule, .host_layers = shares.host_layers};
  return options;
}

DriverOptions all_resident() {
  DriverOptions options;
  options.isa = "auto";
  options.cuda_module = cuda_host_module();
  return options;
}

std::vector<Token> prompt() {
  std::vector<Token> tokens;
  for (int i = 0; i < 19; ++i) tokens.push_back(5 + i * 7 % 60);
  return tokens;
}

// A prompt in chunks of several sizes, and a few tokens one by one.
std::vector<std::vector<float>> logits_of(Driver& driver) {
  auto logits = driver.run(prompt(), 7);
  for (Token token = 3; token < 9; ++token) logits.push_back(driver.step({{0, {token}}}).back());
  return logits;
}

std::uint64_t expert_bytes(Driver& driver) {
  return driver.model().store()->table().bytes();
}

class CudaTiers : public ::testing::Test {
 protected:
  void SetUp() override { reset_module(); }
  void TearDown() override { reset_module(); }
};

TEST_F(CudaTiers, SameBitsAtEveryBudget) {
  Driver resident(golden_dir(kModel), all_resident());
  const auto expected = logits_of(resident);
  EXPECT_FALSE(resident.model().tier_figures().has_value());
  const MemoryFiles disk = packed(golden_dir(kModel), pack_options("none"));
  std::uint64_t all = 0;
  {
    Driver whole("m", with_tiers({}, &disk));
    all = expert_bytes(whole);
    EXPECT_EQ(logits_of(whole), expected);
    const TierFigures figures = *whole.model().tier_figures();
    EXPECT_EQ(figures.misses, 0u);
    EXPECT_GT(figures.hits, 50u);
    EXPECT_EQ(figures.slots_used, figures.slots);
    EXPECT_FALSE(figures.staged);
  }
  for (const std::uint64_t device : {all * 3 / 4, all / 2}) {
    for (const std::uint64_t host : {all, all / 2}) {
      Driver driver("m", with_tiers({.device = device, .host = host}, &disk));
      EXPECT_EQ(logits_of(driver), expected) << device << " " << host;
      const TierFigures figures = *driver.model().tier_figures();
      EXPECT_GT(figures.misses, 0u);
      EXPECT_GT(figures.hits, 0u);
      EXPECT_GT(figures.evictions, 0u);
      EXPECT_EQ(figures.fetched_bytes, figures.fetched * (figures.slot_bytes / figures.slots));
      EXPECT_EQ(figures.host_computed, 0u);
      const ExpertFigures below = *driver.model().expert_figures();
      EXPECT_EQ(figures.fetched - figures.ahead,
                figures.misses + std::min(figures.slots, below.slots));  // the first fill
      EXPECT_EQ(below.hits + below.misses, figures.misses);
      EXPECT_EQ(below.misses > 0, host < all);
    }
  }
}

// What is known or guessed of a layer before it runs is copied ahead; the bits stay.
TEST_F(CudaTiers, CopiesAheadOfLayers) {
  for (const char* name : {"pregated-top2-norm", kModel}) {
    const MemoryFiles disk = packed(golden_dir(name), pack_options("none"));
    Driver resident("m", [&] {
      DriverOptions options = all_resident();
      options.files = &disk;
      return options;
    }());
    const auto expected = logits_of(resident);
    Driver whole("m", with_tiers({}, &disk));
    const std::uint64_t all = expert_bytes(whole);
    for (const std::uint64_t host : {all, all / 2}) {
      DriverOptions options = with_tiers({.device = all * 3 / 4, .host = host}, &disk);
      options.lookahead.mode = LookaheadMode::kAlways;
      Driver driver("m", options);
      EXPECT_EQ(logits_of(driver), expected) << name;
      EXPECT_EQ(logits_of(driver), expected) << name;
      const TierFigures figures = *driver.model().tier_figures();
      EXPECT_GT(figures.ahead, 0u) << name << " " << host;
      EXPECT_GT(figures.ahead_useful, 0u) << name << " " << host;
      EXPECT_LE(figures.ahead_useful + figures.ahead_wasted, figures.ahead);
      options.lookahead.mode = LookaheadMode::kOff;
      Driver plain("m", options);
      EXPECT_EQ(logits_of(plain), expected);
      EXPECT_EQ(plain.model().tier_figures()->ahead, 0u);
    }
  }
}

TEST(DeviceMemory, WhatMayBeTaken) {
  EXPECT_EQ(usable_bytes({.free_bytes = 950, .total_bytes = 1000}, 0.9), 850);
  EXPECT_EQ(usable_bytes({.free_bytes = 50, .total_bytes = 1000}, 0.9), 1);
  EXPECT_EQ(usable_bytes({.free_bytes = 950, .total_bytes = 1000}, 1.0), 950);
  EXPECT_EQ(usable_bytes({}, 0.9), 0);
}

// Computation that does not wait for copies, and copies into slots that are still read.
TEST_F(CudaTiers, MissingWaitsShow) {
  const MemoryFiles disk = packed(golden_dir(kModel), pack_options("none"));
  Driver whole("m", with_tiers({}, &disk));
  const auto expected = logits_of(whole);
  Driver driver("m", with_tiers({.device = expert_bytes(whole) / 2}, &disk));
  EXPECT_EQ(logits_of(driver), expected);
  skip_module_stream_waits();
  EXPECT_NE(logits_of(driver), expected);
}

TEST_F(CudaTiers, UnpackedModelsToo) {
  Driver resident(golden_dir(kModel), all_resident());
  Driver driver(golden_dir(kModel), with_tiers({}));
  const std::uint64_t all = expert_bytes(driver);
  Driver half(golden_dir(kModel), with_tiers({.device = all / 2, .host = all / 2}));
  EXPECT_EQ(logits_of(half), logits_of(resident));
  EXPECT_GT(half.model().expert_figures()->misses, 0u);
}

// The host rounds otherwise: within the tolerance of the op, which is far from changing a token here.
TEST_F(CudaTiers, ComputedOnTheHost) {
  Driver resident(golden_dir(kModel), all_resident());
  const auto expected = logits_of(resident);
  const MemoryFiles disk = packed(golden_dir(kModel), pack_options("none"));
  Driver whole("m", with_tiers({}, &disk));
  const std::uint64_t half = expert_bytes(whole) / 2;
  const auto layers = static_cast<std::int32_t>(whole.model().config().layers.size());
  for (const Shares& shares : {Shares{.device = half, .rule = MissRule::kCompute},
                               Shares{.device = half, .host = half, .rule = MissRule::kCompute},
                               Shares{.host_layers = 1}, Shares{.host_layers = layers}}) {
    DriverOptions options = with_tiers(shares, &disk);
    options.lookahead.mode = LookaheadMode::kAlways;  // nothing to copy to layers of the host
    Driver driver("m", options);
    const auto logits = logits_of(driver);
    ASSERT_EQ(logits.size(), expected.size());
    for (std::size_t row = 0; row < logits.size(); ++row) {
      for (std::size_t i = 0; i < logits[row].size(); ++i) ASSERT_NEAR(logits[row][i], expected[row][i], 2e-4);
    }
    const TierFigures figures = *driver.model().tier_figures();
    EXPECT_GT(figures.host_computed, 0u);
    EXPECT_EQ(figures.fetched, figures.slots + figures.ahead);
    if (shares.host_layers == layers) EXPECT_EQ(figures.slots, 0u);
    if (shares.host_layers == 0) EXPECT_EQ(figures.host_computed, figures.misses);
    EXPECT_EQ(greedy_tokens(driver, prompt(), 6), greedy_tokens(resident, prompt(), 6));
  }
}

TEST(MissSplit, TheSideThatEndsEarlier) {
  EXPECT_EQ(split_misses({}), std::vector<bool>());
  // A host four times as fast as the link takes four of five.
  const std::vector<Miss> equal(5, {.fetch_seconds = 4, .compute_seconds = 1});
  const auto split = split_misses(equal);
  EXPECT_EQ(std::count(split.begin(), split.end(), true), 4);
  // Many rows are the device's, where a transfer takes no longer for them.
  const std::vector<Miss> uneven = {{1, 0.5}, {1, 8}, {1, 0.5}};
  EXPECT_EQ(split_misses(uneven), (std::vector<bool>{true, false, true}));
  const std::vector<Miss> unknown = {{0, 1}, {0, 1}};
  EXPECT_EQ(split_misses(unknown), (std::vector<bool>{false, false}));
  EXPECT_EQ(miss_rule_named("auto"), MissRule::kAuto);
  EXPECT_EQ(miss_rule_named("gpu"), std::nullopt);
}

class CudaTierBoot : public CudaTiers {
 protected:
  void SetUp() override {
    if (kEvictAtRelease) GTEST_SKIP() << "this flavour has no experts on a GPU";
    CudaTiers::SetUp();
  }
  CudaTierBoot() {
    options_.model = demo_dir();
    options_.threads = 1;
    options_.max_num_seqs = 2;
    options_.max_num_batched_tokens = 64;
    options_.max_model_len = 128;
    options_.device = "cuda";
    options_.cuda_module = cuda_host_module();
    options_.cost_calibration = false;
  }

  std::vector<Token> answer(const BootOptions& options, EngineStats* stats = nullptr, std::string* said = nullptr) {
    auto booted = boot_engine(options);
    EXPECT_TRUE(booted.ok()) << booted.status().to_string();
    if (!booted.ok()) return {};
    const auto sink = std::make_shared<CollectSink>();
    Request request = make_request(1, *(*booted)->tokenizer()->encode("Once upon a time"), 5);
    request.sampling.ignore_eos = true;
    EXPECT_TRUE((*booted)->engine().submit(request, sink).ok());
    EXPECT_TRUE(sink->wait_finished(1));
    while (!(*booted)->engine().idle()) std::this_thread::yield();
    if (stats != nullptr) *stats = (*booted)->engine().stats();
    if (said != nullptr) *said = (*booted)->report().tiers;
    return sink->log().tokens;
  }

  BootOptions options_;
};

TEST_F(CudaTierBoot, SameTokensWithTiersByEveryOption) {
  const std::vector<Token> expected = answer(options_);
  EXPECT_EQ(expected.size(), 5u);
  EngineStats stats;
  std::string said;
  BootOptions tiers = options_;
  Metrics metrics;
  tiers.expert_device_memory = "40%";
  tiers.metrics = &metrics;
  EXPECT_EQ(answer(tiers, &stats, &said), expected);
  ASSERT_TRUE(stats.tier.has_value());
  EXPECT_GT(stats.tier->misses, 0u);
  EXPECT_GT(stats.tier->hits, 0u);
  EXPECT_NE(said.find("pinned host memory"), std::string::npos) << said;
  const std::string series = metrics.prometheus_text();
  EXPECT_NE(series.find("moe_expert_loaded_bytes_total{from=\"host\""), std::string::npos) << series;
  EXPECT_NE(series.find("moe_device_misses_total"), std::string::npos);

  tiers.metrics = nullptr;
  tiers.expert_memory = "50%";  // device, host, disk
  EXPECT_EQ(answer(tiers, &stats), expected);
  EXPECT_GT(stats.experts->loads, 0u);
  BootOptions on_cpu = options_;
  on_cpu.cpu_moe = true;
  EXPECT_EQ(answer(on_cpu, &stats), expected);
  EXPECT_EQ(stats.tier->slots, 0u);
  EXPECT_GT(stats.tier->host_computed, 5u);
  on_cpu.cpu_moe = false;
  on_cpu.n_cpu_moe = 1;
  on_cpu.expert_miss = "cpu";
  on_cpu.expert_device_memory = "50%";
  EXPECT_EQ(answer(on_cpu, &stats), expected);
  EXPECT_GT(stats.tier->hits, 0u);
  EXPECT_GT(stats.tier->host_computed, stats.tier->misses);
  EXPECT_EQ(module_live_bytes(), 0u);
}

TEST_F(CudaTierBoot, AutoSplitsByWhatWasMeasured) {
  const std::vector<Token> expected = answer(options_);
  options_.expert_device_memory = "40%";
  options_.expert_miss = "auto";
  options_.model = ::testing::TempDir() + "/foregate_cuda_tiers";
  std::filesystem::remove_all(options_.model);
  const auto plan = plan_pack(local_files(), demo_dir(), {});
  ASSERT_TRUE(plan.ok());
  const Backend made = backend(1);
  const auto stream = made.device->create_stream();
  auto out = open_output_directory(options_.model);
  ASSERT_TRUE(out.ok() && run_pack(plan.value(), local_files(), **out, made.ops, *stream, {}).ok());
  options_.cost_calibration = true;
  EngineStats stats;
  EXPECT_EQ(answer(options_, &stats), expected);
  ASSERT_TRUE(stats.tier.has_value());
  EXPECT_GT(stats.tier->misses, 0u);
  const std::uint64_t demanded = stats.tier->fetched - stats.tier->ahead - stats.tier->slots;
  EXPECT_EQ(demanded + stats.tier->host_computed, stats.tier->misses);
}

// Nothing but speed is lost, and it is said.
TEST_F(CudaTierBoot, WithoutPinnedMemoryCopiesAreStaged) {
  const std::vector<Token> expected = answer(options_);
  options_.expert_device_memory = "40%";
  fail_module_calls("large cudaHostAlloc", 2, 0);
  Metrics metrics;
  options_.metrics = &metrics;
  EngineStats stats;
  std::string said;
  testing::internal::CaptureStderr();
  EXPECT_EQ(answer(options_, &stats, &said), expected);
  const std::string log = testing::internal::GetCapturedStderr();
  const auto warned = log.find("could not be pinned");
  EXPECT_NE(warned, std::string::npos) << log;
  EXPECT_EQ(log.find("could not be pinned", warned + 1), std::string::npos) << log;
  EXPECT_TRUE(stats.tier->staged);
  EXPECT_GT(stats.tier->fetched, stats.tier->slots);
  EXPECT_NE(said.find("not pinned"), std::string::npos) << said;
  const std::string series = metrics.prometheus_text();
  const auto at = series.find("\nmoe_device_staged{");
  ASSERT_NE(at, std::string::npos) << series;
  EXPECT_EQ(series.substr(series.find("} ", at), 4), "} 1\n") << series.substr(at, 80);
}

TEST_F(CudaTierBoot, BudgetsThatCannotBe) {
  options_.expert_device_memory = "1";
  EXPECT_EQ(boot_model(options_).status().field(), "expert_device_memory");
  options_.expert_device_memory = "much";
  EXPECT_EQ(boot_model(options_).status().field(), "expert_device_memory");
  options_.expert_device_memory = "auto";
  options_.expert_miss = "drop";
  EXPECT_EQ(boot_model(options_).status().field(), "expert_miss");
  options_.expert_miss = "fetch";
  options_.dense_memory = "50%";
  EXPECT_EQ(boot_model(options_).status().code(), Code::kUnimplemented);
}

// The copy stream's failures are the device's.
TEST_F(CudaTierBoot, ALostDeviceWhileFetchingEndsTheRequest) {
  options_.expert_device_memory = "40%";
  auto booted = boot_engine(options_);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  fail_module_calls("memcpy", 700, 60);
  const auto sink = std::make_shared<CollectSink>();
  Request request = make_request(1, *(*booted)->tokenizer()->encode("Once upon a time"), 100);
  request.sampling.ignore_eos = true;
  ASSERT_TRUE((*booted)->engine().submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(*sink->log().finish, FinishReason::kError);
  EXPECT_FALSE((*booted)->engine().healthy());
}

}  // namespace
}  // namespace foregate
