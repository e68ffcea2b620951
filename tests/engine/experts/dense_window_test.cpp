// Layers that pass through two slots: which ones a budget keeps, that each shows its own bytes however steps go, what
// is read how often, and every fault of a disk.
#include "engine/experts/dense_window.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/engine/experts/held_queue.h"
#include "tests/engine/experts/made_experts.h"

namespace foregate {
namespace {

using made::key;

std::uint64_t sum(const std::vector<std::uint64_t>& layers) {
  return std::accumulate(layers.begin(), layers.end(), std::uint64_t{0});
}

TEST(DensePlan, KeepsWhatFitsBesideTwoSlots) {
  const std::vector<std::uint64_t> layers(16, 100);
  EXPECT_EQ(plan_dense_window(layers, 1600)->layers_streamed(), 0u);
  EXPECT_EQ(plan_dense_window(layers, 1600)->bytes, 1600u);
  for (std::uint64_t budget = 200; budget < 1600; budget += 50) {
    const auto plan = plan_dense_window(layers, budget);
    ASSERT_TRUE(plan.ok());
    EXPECT_LE(plan->bytes, budget);
    EXPECT_EQ(plan->layers_streamed(), 18 - budget / 100) << "each layer kept is one read less";
    EXPECT_EQ(plan->step_bytes, 100 * plan->layers_streamed());
    EXPECT_GE(plan->layers_streamed(), 3u);
  }
  const auto refused = plan_dense_window(layers, 199);
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(refused.status().field(), "dense_memory");
  EXPECT_NE(refused.status().message().find(" 200"), std::string::npos) << refused.status().to_string();
}

TEST(DensePlan, StreamsEvenlyAndAnySizes) {
  const auto half = plan_dense_window(std::vector<std::uint64_t>(12, 100), 800);
  ASSERT_TRUE(half.ok());
  EXPECT_EQ(half->streamed,
            (std::vector<bool>{false, true, false, true, false, true, false, true, false, true, false, true}));
  for (const std::vector<std::uint64_t>& layers :
       {std::vector<std::uint64_t>{50, 900, 40}, {10, 20, 30, 40, 50, 60}, {70, 10, 10, 10, 10, 70}}) {
    const std::uint64_t largest = *std::max_element(layers.begin(), layers.end());
    for (std::uint64_t budget = 1; budget <= sum(layers); ++budget) {
      const auto plan = plan_dense_window(layers, budget);
      EXPECT_EQ(plan.ok(), budget >= std::min(2 * largest, sum(layers)));
      if (!plan.ok()) continue;
      EXPECT_LE(plan->bytes, budget);
      EXPECT_TRUE(plan->layers_streamed() == 0 || plan->layers_streamed() > kDenseSlots) << budget;
    }
  }
}

class DenseWindowTest : public ::testing::Test {
 protected:
  // Layer i's bytes are those of expert i of a made disk.
  void start(std::uint64_t budget_layers, std::unique_ptr<ReadQueue> queue = make_thread_queue(2)) {
    window_.reset();
    DenseTable table;
    auto plan =
        plan_dense_window(std::vector<std::uint64_t>(kLayers, 2 * kDirectPage), budget_layers * 2 * kDirectPage);
    ASSERT_TRUE(plan.ok()) << plan.status().to_string();
    table.plan = *plan;
    for (std::int32_t i = 0; i < kLayers; ++i) {
      weights_[i] = {};
      if (!table.plan.streamed[static_cast<std::size_t>(i)]) continue;
      table.layers.push_back({LayerId{i}, disk_.extent(key(0, i)), {{&weights_[i], 64}}});
    }
    streamed_ = table.layers.size();
    auto made =
        DenseWindow::create(std::move(table), device_, std::make_shared<Transfer>(std::move(queue), TransferOptions{}));
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    window_ = std::move(made).value();
  }
  Status step(std::int32_t layers = kLayers) {
    for (std::int32_t i = 0; i < layers; ++i) {
      RETURN_IF_ERROR(window_->begin(LayerId{i}));
      if (weights_[i].data != nullptr) {
        EXPECT_TRUE(disk_.right(key(0, i), weights_[i].data - 64)) << i;
        ++seen_;
      }
      window_->end(LayerId{i});
      EXPECT_EQ(weights_[i].data, nullptr);
    }
    return {};
  }

  static constexpr std::int32_t kLayers = 7;
  made::Disk disk_{{.count = kLayers, .pages = {2}}};
  made::HeapDevice device_;
  PackedWeight weights_[kLayers];
  std::size_t streamed_ = 0;
  std::size_t seen_ = 0;
  std::unique_ptr<DenseWindow> window_;
};

TEST_F(DenseWindowTest, EachStreamedLayerIsReadOnceAStep) {
  for (std::uint64_t budget = 2; budget < kLayers; ++budget) {
    start(budget);
    seen_ = 0;
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(step().ok());
    EXPECT_EQ(streamed_, kLayers + 2 - budget);
    EXPECT_EQ(seen_, 5 * streamed_);
    const DenseStats stats = window_->stats();
    EXPECT_EQ(stats.ready + stats.late, 5 * streamed_);
    EXPECT_GE(stats.transfer.loads, 5 * streamed_);
    EXPECT_LE(stats.transfer.loads, 5 * streamed_ + 2) << "and the first of the next step";
    EXPECT_EQ(stats.slot_bytes, 4 * kDirectPage);
    EXPECT_EQ(stats.transfer.bytes, stats.transfer.loads * 2 * kDirectPage);
  }
}

// While a layer is in use the next one is read, and around the end of a step.
TEST_F(DenseWindowTest, ReadsAheadInTheOrderOfLayers) {
  auto held = std::make_shared<HeldReads>();
  start(2, std::make_unique<HeldQueue>(held, 1));
  held->let(2);
  EXPECT_EQ(held->asked(2).back(), disk_.extent(key(0, 1)).offset);
  ASSERT_TRUE(window_->begin(LayerId{0}).ok());
  window_->end(LayerId{0});
  EXPECT_EQ(held->asked(3).back(), disk_.extent(key(0, 2)).offset);
  held->let_all();
  for (std::int32_t i = 1; i < kLayers; ++i) {
    ASSERT_TRUE(window_->begin(LayerId{i}).ok());
    window_->end(LayerId{i});
  }
  const auto offsets = held->asked(kLayers + 2);
  EXPECT_EQ(offsets[kLayers], disk_.extent(key(0, 0)).offset);
  EXPECT_EQ(offsets[kLayers + 1], disk_.extent(key(0, 1)).offset);
}

// Steps that end anywhere: the next one finds its layers, with what was read for the last one in the slots.
TEST_F(DenseWindowTest, StepsThatWereGivenUp) {
  for (std::uint64_t budget = 2; budget < kLayers; ++budget) {
    start(budget);
    for (const std::int32_t layers : {3, 7, 1, 6, 2, 5, 4, 7}) ASSERT_TRUE(step(layers).ok());
  }
}

TEST_F(DenseWindowTest, EveryNthReadGoesWrong) {
  const std::pair<Fault, Code> kinds[] = {{Fault::kIoError, Code::kUnavailable},
                                          {Fault::kShortFile, Code::kDataLoss},
                                          {Fault::kFlippedBit, Code::kDataLoss}};
  for (std::uint64_t budget : {2, 4}) {
    start(budget);
    for (const auto& [fault, code] : kinds) {
      for (std::uint64_t every = 1; every < 12; ++every) {
        disk_.faults.set(fault, every);
        for (int i = 0; i < 3; ++i) {
          const Status status = step();
          if (every == 1 && i > 0) {
            EXPECT_FALSE(status.ok());
          }
          if (status.ok()) continue;
          EXPECT_EQ(status.code(), code) << status.to_string();
          EXPECT_EQ(status.field().find("dense weights of layer "), 0u) << status.field();
          EXPECT_EQ(status.message().find("m/data.fgw: dense weights of layer "), 0u) << status.message();
        }
        EXPECT_GT(disk_.faults.faults, 0u);
        disk_.faults.set(Fault::kNone, 1);
        ASSERT_TRUE(step().ok());
      }
    }
    EXPECT_GT(window_->stats().transfer.retries, 0u);
    EXPECT_GT(window_->stats().transfer.failures, 0u);
  }
}

TEST_F(DenseWindowTest, MemoryThatIsNotThereIsAnError) {
  device_.limit = kDirectPage;
  DenseTable table;
  table.plan = *plan_dense_window(std::vector<std::uint64_t>(3, kDirectPage), 2 * kDirectPage);
  for (std::int32_t i = 0; i < 3; ++i) table.layers.push_back({LayerId{i}, disk_.extent(key(0, i)), {}});
  const auto made = DenseWindow::create(std::move(table), device_,
                                        std::make_shared<Transfer>(make_thread_queue(1), TransferOptions{}));
  EXPECT_EQ(made.status().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace foregate
