// A running engine whose disk becomes ten times slower in the middle of a request: every token comes, the same as ever,
// and nobody takes the engine for dead.
#include <gtest/gtest.h>

#include "tests/engine/io/fault_files.h"
#include "tests/engine/model/packing.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

class SlowDisk : public ::testing::Test {
 protected:
  static constexpr std::int32_t kTokens = 60;

  void start(const char* lookahead) {
    engine_.reset();
    LoadOptions options = packing::load_options();
    options.experts.emplace();
    options.experts->warm = false;
    options.experts->store.budget_bytes = expert_bytes() / 2;
    options.lookahead = {.mode = *lookahead_mode_named(lookahead), .distance = 1};
    loaded_.reset(new packing::Loaded(packing::load(faults_, "m", options)));  // in place: the model refers to its ops
    ASSERT_TRUE(loaded_->model.ok()) << loaded_->model.status().to_string();
    EngineSetup setup;
    setup.options.max_num_batched_tokens = options.max_batched_tokens;
    setup.limits.vocab_size = (*loaded_->model)->vocab_size();
    setup.limits.max_model_len = 512;
    engine_ = engine_of(setup, std::move(*loaded_->model));
  }
  std::uint64_t expert_bytes() const {
    std::uint64_t bytes = 0;
    auto model = PackedModel::open(disk_, "m");
    for (const PackedUnit& unit : model->index().units) bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
    return bytes;
  }
  std::shared_ptr<CollectSink> submit() {
    auto sink = std::make_shared<CollectSink>();
    Request request = make_request(++requests_, random_prompt(3, 9), kTokens);
    request.sampling.ignore_eos = true;
    EXPECT_TRUE(engine_->submit(request, sink).ok());
    return sink;
  }

  MemoryFiles disk_ = packing::packed(std::string(FOREGATE_SOURCE_DIR) + "/tests/golden/qwen3-moe-top4-norm",
                                      packing::pack_options("none"));
  FaultFiles faults_{disk_};
  std::unique_ptr<packing::Loaded> loaded_;
  std::unique_ptr<Engine> engine_;
  std::uint64_t requests_ = 0;
};

TEST_F(SlowDisk, InTheMiddleOfARequestChangesNoToken) {
  start("off");
  auto sink = submit();
  ASSERT_TRUE(sink->wait_finished(1));
  const std::vector<Token> expected = sink->log().tokens;
  EXPECT_EQ(expected.size(), static_cast<std::size_t>(kTokens));
  for (const char* lookahead : {"off", "auto", "always"}) {
    SCOPED_TRACE(lookahead);
    start(lookahead);
    faults_.slow_us = 200;
    faults_.set(Fault::kSlow, 1);
    sink = submit();
    ASSERT_TRUE(sink->wait_tokens(kTokens / 3));
    const std::uint64_t before = faults_.faults;
    faults_.slow_us = 2000;
    ASSERT_TRUE(sink->wait_finished(1));
    EXPECT_GT(faults_.faults, before);
    EXPECT_EQ(sink->log().finish, FinishReason::kLength);
    EXPECT_EQ(sink->log().tokens, expected);
    EXPECT_TRUE(engine_->healthy());
    sink = submit();  // and the next one, on a disk that stays slow
    ASSERT_TRUE(sink->wait_finished(1));
    EXPECT_EQ(sink->log().tokens, expected);
    const EngineStats stats = engine_->stats();
    EXPECT_EQ(stats.failed, 0u);
    EXPECT_EQ(stats.experts->load_failures + stats.experts->load_retries, 0u);
    EXPECT_GT(stats.experts->evictions, 0u);
    faults_.set(Fault::kNone, 1);
  }
}

}  // namespace
}  // namespace foregate
