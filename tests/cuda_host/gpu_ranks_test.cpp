// Experts shared among ranks with a device each: the tokens of one device, whether rows go from device to device or
// over the lines; and peers that do not join, fail or are never done.
#include "tests/gpu/gpu_ranks.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/cuda_host/emulated_module.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/model/rank_plans.h"

namespace foregate {
namespace {

using namespace testing_support;

constexpr const char* kModel = "qwen3-moe-top4-norm";
const std::vector<Token> kPrompt = {5, 9, 11, 40, 23, 7, 31, 2, 18, 44, 6};

DriverOptions on_cuda(ExpertRanks* ranks = nullptr) {
  DriverOptions options;
  options.isa = "auto";
  options.cuda_module = cuda_host_module();
  options.ranks = ranks;
  return options;
}

GpuRanksOptions over(bool peers) {
  return {.module = cuda_host_module(), .peers = peers, .library = FOREGATE_FAKE_NCCL};
}

void plant(const char* fault) {
  void* const library = dlopen(FOREGATE_FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
  reinterpret_cast<void (*)(const char*)>(dlsym(library, "fake_nccl_plant"))(fault);
}

class GpuRanksTest : public ::testing::Test {
 protected:
  void SetUp() override { reset_module(); }
  void TearDown() override { plant(""); }
};

TEST_F(GpuRanksTest, AnyNumberOfDevicesGivesTheTokensOfOne) {
  for (const char* name : {kModel, "qwen2-moe-shared-top4"}) {
    const std::string dir = golden_dir(name);
    Driver alone(dir, on_cuda());
    const auto want = greedy_tokens(alone, kPrompt, 4);
    const auto logits = alone.run(kPrompt, 6);
    Crossed line;
    for (const std::int32_t count : {1, 2, 3}) {
      if (name != kModel && count < 3) continue;
      for (const bool peers : {false, true}) {
        GpuRanks ranks(dir, plan_for(dir, count, false), over(peers));
        Driver driver(dir, on_cuda(&ranks));
        EXPECT_EQ(greedy_tokens(driver, kPrompt, 4), want) << name << ", " << count << " ranks, peers " << peers;
        EXPECT_EQ(driver.run(kPrompt, 6), logits) << name << ", " << count << " ranks, peers " << peers;
        EXPECT_TRUE(ranks.dropped().empty());
        EXPECT_EQ(ranks.crossed().rows > 0, count > 1);
        EXPECT_EQ(ranks.crossed().peer_bytes > 0, peers && count > 1);
        if (!peers) line = ranks.crossed();
        EXPECT_EQ(ranks.crossed().rows, line.rows) << "what crosses does not depend on the way";
        EXPECT_EQ(ranks.crossed().bytes, line.bytes);
        const auto row_bytes = static_cast<std::uint64_t>(driver.model().config().hidden_size) * sizeof(float);
        EXPECT_EQ(ranks.crossed().peer_bytes, peers ? ranks.crossed().rows * row_bytes : 0);
      }
    }
  }
}

// Rank 1 of two, and a step after which it is in trouble.
struct Troubled {
  explicit Troubled(TimeNs answer_limit)
      : dir(golden_dir(kModel)),
        ranks(dir, plan_for(dir, 2, false), options(answer_limit)),
        driver(dir, on_cuda(&ranks)) {
    EXPECT_TRUE(ranks.by_peers(RankId{1})) << ranks.why_not(RankId{1});
    EXPECT_TRUE(driver.try_run(kPrompt, 4).ok());
  }
  static GpuRanksOptions options(TimeNs answer_limit) {
    GpuRanksOptions options = over(true);
    options.answer_limit = answer_limit;
    return options;
  }
  Status step() {
    const auto start = std::chrono::steady_clock::now();
    const Status status = driver.try_run(kPrompt, 4).status();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return status;
  }
  std::string dir;
  GpuRanks ranks;
  Driver driver;
  double seconds = 0;
};

// It took the announcement and no rows, or computed and its outputs stay away: both ends give up at the deadline.
TEST_F(GpuRanksTest, RowsThatNeverArriveAreADeadline) {
  for (const char* fault : {"stops", "stops@0", "stops@1"}) {
    Troubled troubled(400'000'000);
    plant(fault);
    const Status status = troubled.step();
    EXPECT_EQ(status.code(), Code::kUnavailable) << fault;
    EXPECT_NE(status.message().find("rank 1 does not serve"), std::string::npos) << status.message();
    EXPECT_GE(troubled.seconds, 0.3);
    EXPECT_LT(troubled.seconds, 5.0);
    EXPECT_EQ(troubled.ranks.dropped().count(RankId{1}), 1u);
    EXPECT_FALSE(troubled.ranks.ended(RankId{1}).ok()) << "the rank does not go on either";
    plant("");
  }
}

TEST_F(GpuRanksTest, AFailureInNcclIsTheRanks) {
  for (const char* fault : {"breaks@0", "breaks@1"}) {
    Troubled troubled(2'000'000'000);
    plant(fault);
    const Status status = troubled.step();
    EXPECT_EQ(status.code(), Code::kUnavailable) << fault;
    EXPECT_NE(status.message().find("rank 1 does not serve"), std::string::npos) << status.message();
    EXPECT_LT(troubled.seconds, 10.0);
    EXPECT_EQ(troubled.ranks.dropped().count(RankId{1}), 1u);
    plant("");
  }
}

TEST_F(GpuRanksTest, ARankThatIsGoneIsNotWaitedFor) {
  Troubled troubled(20'000'000'000);
  troubled.ranks.hang_up(RankId{1});
  EXPECT_EQ(troubled.step().code(), Code::kUnavailable);
  EXPECT_LT(troubled.seconds, 5.0);
}

TEST_F(GpuRanksTest, WhoCannotJoinSendsOverTheLine) {
  const std::string dir = golden_dir(kModel);
  Driver alone(dir, on_cuda());
  const auto want = greedy_tokens(alone, kPrompt, 6);
  for (const char* fault : {"no-id", "no-init", "no-init@0", "no-init@1"}) {
    plant(fault);
    GpuRanksOptions options = over(true);
    options.join_limit = 300'000'000;
    GpuRanks ranks(dir, plan_for(dir, 2, false), options);
    plant("");
    EXPECT_FALSE(ranks.by_peers(RankId{1})) << fault;
    EXPECT_FALSE(ranks.why_not(RankId{1}).empty()) << fault;
    Driver driver(dir, on_cuda(&ranks));
    EXPECT_EQ(greedy_tokens(driver, kPrompt, 6), want) << fault;
    EXPECT_EQ(ranks.crossed().peer_bytes, 0u);
  }
  GpuRanksOptions nowhere = over(true);
  nowhere.library = "/nowhere/libnccl.so.2";
  GpuRanks ranks(dir, plan_for(dir, 2, false), nowhere);
  EXPECT_FALSE(ranks.by_peers(RankId{1}));
  EXPECT_NE(ranks.why_not(RankId{1}).find("/nowhere"), std::string::npos) << ranks.why_not(RankId{1});
}

}  // namespace
}  // namespace foregate
