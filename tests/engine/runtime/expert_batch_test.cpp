// Expert-aware batch forming in the engine: with it on, rows are put off and every request is answered as without.
#include <gtest/gtest.h>

#include "tests/engine/runtime/same_answer.h"

namespace foregate {
namespace {

using namespace testing_support;

// The stub with experts on a slow disk: sixteen, of which four are in memory; requests of odd ids use these, those of
// even ids three that are not.
class DiskModel final : public Model {
 public:
  explicit DiskModel(double read_rate) : inner_(kVocab), read_rate_(read_rate) {}
  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override {
    return inner_.forward(input, cache, logits);
  }
  std::int32_t vocab_size() const override { return inner_.vocab_size(); }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override { return inner_.kv_layout(type, block_size); }
  void keep_routes() override { kept_ = true; }
  std::span<const std::int32_t> last_experts(std::uint64_t request) const override {
    EXPECT_TRUE(kept_);
    return request % 2 == 1 ? here_ : request % 4 == 0 ? away_[0] : away_[1];
  }
  std::span<const std::uint8_t> resident_experts() override { return resident_; }
  std::optional<ExpertFigures> expert_figures() const override {
    ExpertFigures figures;
    figures.slots = 4;
    figures.slot_bytes = 4'000'000;
    figures.costed_read_rate = read_rate_;
    return figures;
  }

 private:
  StubModel inner_;
  const double read_rate_;
  bool kept_ = false;
  const std::vector<std::int32_t> here_ = {0, 1, 2};
  const std::vector<std::int32_t> away_[2] = {{4, 5, 15}, {8, 9, 15}};
  const std::vector<std::uint8_t> resident_ = {1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
};

RunResult run(const EngineSetup& setup, const std::vector<Request>& requests, double read_rate) {
  const RunResult result = run_requests(
      setup, [read_rate] { return std::make_unique<DiskModel>(read_rate); }, requests, Arrival::kTogether);
  EXPECT_TRUE(result.ended);
  EXPECT_EQ(result.stats.kv_blocks_used, 0);
  return result;
}

TEST(ExpertBatchEngine, AnswersAreThoseOfAnEngineThatHoldsNobodyBack) {
  constexpr double kSlow = 1e6;  // an expert takes a second
  EngineSetup setup;
  const std::vector<Request> requests = mixed_requests(3, 12, kVocab, 1, 30, 24);
  const RunResult plain = run(setup, requests, kSlow);
  EXPECT_EQ(plain.stats.expert_held_back, 0u);
  for (const PolicyKind kind : {PolicyKind::kFcfs, PolicyKind::kPriority, PolicyKind::kMlfq, PolicyKind::kDlpm}) {
    setup.options.policy.kind = kind;
    setup.options.expert_batch_delay = 3;
    for (const std::int64_t blocks : {256, 24}) {
      setup.num_blocks = blocks;
      const RunResult held = run(setup, requests, kSlow);
      EXPECT_GT(held.stats.expert_held_back, 0u) << policy_name(kind);
      const Difference difference = compare_runs(plain, held);
      EXPECT_EQ(difference.answers, 0) << policy_name(kind);
      EXPECT_EQ(difference.logits, 0) << policy_name(kind);
      EXPECT_EQ(difference.compared, static_cast<std::int64_t>(plain.record->rows.size()));
    }
  }
}

TEST(ExpertBatchEngine, NobodyIsHeldBackWhereLoadsAreNothingOrNotKnown) {
  EngineSetup setup;
  setup.options.expert_batch_delay = 3;
  const std::vector<Request> requests = mixed_requests(3, 12, kVocab, 1, 30, 24);
  for (const double rate : {1e18, 0.0}) EXPECT_EQ(run(setup, requests, rate).stats.expert_held_back, 0u) << rate;
  setup.options.expert_batch_delay = -1;
  EXPECT_EQ(make_engine(parts_of(setup, std::make_unique<DiskModel>(1.0))).status().field(), "expert_batch_delay");
}

}  // namespace
}  // namespace foregate
