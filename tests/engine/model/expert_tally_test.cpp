// The map of experts: its counts are those of the store, its places what the slots hold, it is counted only while it is
// watched, and nobody's look changes a bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

using namespace packing;

std::vector<Token> prompt() {
  std::vector<Token> tokens;
  for (Token i = 0; i < 24; ++i) tokens.push_back((i * 37 + 5) % 96);
  return tokens;
}

struct Sums {
  std::uint64_t rows = 0, uses = 0, hits = 0, useful = 0, wasted = 0;
  std::size_t in_memory = 0;
};

Sums sums_of(const ExpertMap& map) {
  Sums sums;
  for (const ExpertCell& cell : map.cells) {
    sums.rows += cell.rows;
    sums.uses += cell.uses;
    sums.hits += cell.hits;
    sums.useful += cell.ahead_useful;
    sums.wasted += cell.ahead_wasted;
    sums.in_memory += cell.place == ExpertPlace::kMemory ? 1 : 0;
  }
  return sums;
}

// Sparse layers of the model times its top-k.
std::uint64_t rows_per_token(const ModelConfig& config) {
  const auto sparse = std::count_if(config.layers.begin(), config.layers.end(), [](const auto& l) { return l.sparse; });
  return static_cast<std::uint64_t>(sparse * config.router.top_k);
}

ExpertMap look(Driver& driver) {
  ExpertMap map;
  driver.model().expert_board()->ask([&map](const auto& shown) { map = *shown; });
  driver.model().show_experts();
  return map;
}

constexpr TimeNs kLongNs = 3'600'000'000'000;  // longer than any test

class HeldClock final : public Clock {
 public:
  TimeNs now() const override {
    ++reads;
    return time;
  }
  std::int64_t wall_seconds() const override { return 0; }
  TimeNs time = 1;
  mutable int reads = 0;
};

TEST(ExpertBoard, IsWatchedForSomeSecondsAfterALook) {
  HeldClock clock;
  ExpertBoard board(clock);
  EXPECT_FALSE(board.watched());
  EXPECT_EQ(clock.reads, 0) << "nobody looked: not even the time is asked for";
  int answers = 0;
  for (int i = 0; i < 2; ++i) {
    board.ask([&answers](const auto& map) { answers += static_cast<int>(map->steps); });
  }
  EXPECT_TRUE(board.asked());
  ExpertMap map;
  map.steps = 7;
  board.answer(map);
  EXPECT_EQ(answers, 14);
  EXPECT_FALSE(board.asked());
  clock.time += ExpertBoard::kWatchNs - 1;
  EXPECT_TRUE(board.watched());
  clock.time += 1;
  EXPECT_FALSE(board.watched());
  const int reads = clock.reads;
  EXPECT_FALSE(board.watched());
  EXPECT_EQ(clock.reads, reads);
  board.ask([](const auto&) {});
  EXPECT_TRUE(board.watched());
}

TEST(ExpertTally, CountsWhatAResidentModelRoutesWhileItIsWatched) {
  const MemoryFiles disk = packed(golden_dir("qwen2-moe-mixed-layers"), pack_options("none"));
  Driver driver("m", {.isa = "auto", .files = &disk});
  if (driver.model().store() != nullptr) GTEST_SKIP() << "no expert stays in memory in this flavour";
  const auto before = driver.run(prompt(), 5);
  driver.model().expert_board()->watch(kLongNs);
  const auto watched = driver.run(prompt(), 5);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(before[i], watched[i]);
  const ExpertMap map = look(driver);
  const Sums sums = sums_of(map);
  EXPECT_EQ(map.experts.size(), driver.model().config().layers.size());
  EXPECT_EQ(map.steps, 10);
  EXPECT_EQ(map.watched_steps, 5);
  EXPECT_TRUE(map.counted);
  EXPECT_EQ(sums.rows, 24 * rows_per_token(driver.model().config()));
  EXPECT_EQ(sums.hits, sums.uses);
  EXPECT_EQ(sums.in_memory, map.cells.size());
}

TEST(ExpertTally, AgreesWithTheStore) {
  for (const char* name : {"qwen3-moe-dense-layers", "pregated-top2-norm"}) {
    SCOPED_TRACE(name);
    const MemoryFiles disk = packed(golden_dir(name), pack_options("none"));
    Driver whole("m", {.isa = "auto", .files = &disk});
    std::uint64_t budget = 0;
    {
      Driver probe("m",
                   {.isa = "auto", .files = &disk, .experts = ExpertLoading{.store = {.budget_bytes = 1ull << 30}}});
      budget = probe.model().store()->stats().slot_bytes / 2;
    }
    Driver driver("m", {.isa = "auto", .files = &disk, .experts = ExpertLoading{.store = {.budget_bytes = budget}}});
    driver.model().expert_board()->watch(kLongNs);
    const auto rows = driver.run(prompt(), 5);
    const auto expected = whole.run(prompt(), 5);
    ASSERT_EQ(rows.size(), expected.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      EXPECT_EQ(std::memcmp(rows[i].data(), expected[i].data(), rows[i].size() * sizeof(float)), 0);
    }
    const ExpertMap map = look(driver);
    const Sums sums = sums_of(map);
    const StoreStats stats = driver.model().store()->stats();
    EXPECT_EQ(sums.hits, stats.hits);
    EXPECT_EQ(sums.uses, stats.hits + stats.misses);
    EXPECT_EQ(sums.rows, 24 * rows_per_token(driver.model().config()));
    EXPECT_EQ(sums.useful, stats.hints_useful + stats.certain_useful + stats.certain_late + stats.ahead_useful);
    EXPECT_GT(sums.useful + sums.wasted, 0u);
    EXPECT_GT(sums.in_memory, 0u);
    EXPECT_LT(sums.in_memory, map.cells.size());
  }
}

}  // namespace
}  // namespace foregate
