// Ranks with their experts in stores of their own: the same bytes as one rank with all in memory, at every budget,
// while figures of each rank show that experts came and went; and a disk that fails at one rank.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/engine/io/fault_files.h"
#include "tests/engine/model/packing.h"
#include "tests/engine/model/thread_ranks.h"

namespace foregate {
namespace {

using namespace packing;
using Rows = std::vector<std::vector<float>>;

std::vector<Token> some_tokens(int count) {
  std::vector<Token> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<Token>((i * 37 + 5) % 96));
  return tokens;
}

bool same_bytes(const Rows& a, const Rows& b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

PlacementPlan plan_of(const FileSystem& files, std::int32_t ranks) {
  const auto model = open_model(files, "m");
  CHECK(model.ok());
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : model->config.layers) {
    experts.push_back(layer.sparse ? model->config.router.experts : 0);
  }
  auto plan = PlacementPlan::round_robin(ranks, experts);
  CHECK(plan.ok());
  return std::move(plan).value();
}

ExpertLoading store_of(std::uint64_t budget, bool warm) {
  return {.store = {.budget_bytes = budget, .policy = "lru"}, .warm = warm};
}

// As the refusal of one byte says them: the least budget, and that of all.
std::pair<std::uint64_t, std::uint64_t> budgets_of(const FileSystem& files) {
  LoadOptions options = load_options();
  options.experts = store_of(1, false);
  const std::string text = load(files, "m", options).model.status().message();
  const auto number = [&](const std::string& mark) { return std::stoull(text.substr(text.find(mark) + mark.size())); };
  return {number("at least "), number("bytes of the ")};
}

TEST(ExchangeStore, RanksThatReadTheirExpertsGiveTheBytesOfOne) {
  for (const char* name :
       {"qwen3-moe-top4-norm", "qwen2-moe-shared-top4", "pregated-top2-norm", "qwen3-moe-dense-layers"}) {
    const MemoryFiles disk = packed(golden_dir(name), pack_options("none"));
    const auto [least, all] = budgets_of(disk);
    Driver whole("m", {.isa = "auto", .files = &disk});
    const Rows want = whole.run(some_tokens(24), 5);
    std::uint64_t evictions = 0;
    for (const std::int32_t count : {2, 3}) {
      for (const std::uint64_t budget : {least, all}) {
        for (const bool warm : {false, true}) {
          const ExpertLoading store = store_of(budget, warm);
          ThreadRanks ranks("m", plan_of(disk, count), "auto", 256, store, disk);
          Driver driver("m", {.isa = "auto", .files = &disk, .experts = store, .ranks = &ranks});
          EXPECT_TRUE(same_bytes(driver.run(some_tokens(24), 5), want))
              << name << ", " << count << " ranks, " << budget;
          driver.reset();
          EXPECT_TRUE(same_bytes(driver.run(some_tokens(24), 1), want)) << name << ", token by token";
          EXPECT_GT(driver.model().store()->stats().transfer.loads, 0u);
          ASSERT_EQ(ranks.figures().size(), static_cast<std::size_t>(count - 1));
          for (const auto& [rank, figures] : ranks.figures()) {
            EXPECT_GT(figures.loads, 0u) << "rank " << rank.value;
            EXPECT_GT(figures.hits + figures.misses, 0u);
            evictions += figures.evictions;
            if (budget == all) EXPECT_EQ(figures.evictions, 0u) << "rank " << rank.value << " of " << count;
          }
        }
      }
    }
    EXPECT_GT(evictions, 0u) << name;
  }
}

// What is loaded before the first step is a rank's own.
TEST(ExchangeStore, ARankIsWarmedWithItsOwnExperts) {
  const MemoryFiles disk = packed(golden_dir("qwen3-moe-top4-norm"), pack_options("none"));
  const ExpertLoading store = store_of(budgets_of(disk).second, true);
  const PlacementPlan plan = plan_of(disk, 2);
  ThreadRanks ranks("m", plan, "ref", 256, store, disk);
  const ExpertStore& held = *ranks.experts(RankId{1}).weights().store;
  std::uint64_t own = 0;
  for (std::int32_t l = 0; l < static_cast<std::int32_t>(plan.layers()); ++l) {
    for (std::int32_t e = 0; e < plan.experts(LayerId{l}); ++e) {
      EXPECT_EQ(held.resident({LayerId{l}, ExpertId{e}}), plan.holds(RankId{1}, LayerId{l}, ExpertId{e}));
      own += plan.holds(RankId{1}, LayerId{l}, ExpertId{e}) ? 1 : 0;
    }
  }
  EXPECT_EQ(held.stats().slots_used, own);
}

// The plan changes between two steps of a sequence: other ranks read the experts, the bytes stay.
TEST(ExchangeStore, APlanMayChangeBetweenSteps) {
  const MemoryFiles disk = packed(golden_dir("qwen3-moe-top4-norm"), pack_options("none"));
  const auto tokens = some_tokens(24);
  Driver whole("m", {.isa = "auto", .files = &disk});
  const Rows want = whole.run(tokens, 1);
  const PlacementPlan first = plan_of(disk, 3);
  std::vector<LayerHomes> homes = first.homes();
  std::vector<ExpertCopy> copies;
  for (std::size_t l = 0; l < homes.size(); ++l) {
    for (std::size_t e = 0; e < homes[l].size(); ++e) {
      homes[l][e] = (homes[l][e] + 1) % 3;
      const ExpertCopy copy{LayerId{static_cast<std::int32_t>(l)}, ExpertId{static_cast<std::int32_t>(e)},
                            RankId{homes[l][e] == 1 ? 2 : 1}};
      if (homes[l][e] > 0 && e % 2 == 0) copies.push_back(copy);
    }
  }
  const ExpertLoading store = store_of(budgets_of(disk).second, false);
  ThreadRanks ranks("m", first, "auto", 256, store, disk);
  Driver driver("m", {.isa = "auto", .files = &disk, .experts = store, .ranks = &ranks});
  const int sequence = driver.add_sequence();
  Rows rows;
  std::uint64_t loads = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i == 16) {
      loads = ranks.figures().at(RankId{1}).loads;
      auto plan = PlacementPlan::create(3, homes, copies);
      ASSERT_TRUE(plan.ok());
      ranks.set_next(*plan);
    }
    for (auto& row : driver.step({{sequence, {tokens[i]}}})) rows.push_back(std::move(row));
  }
  EXPECT_TRUE(same_bytes(rows, want));
  EXPECT_GT(ranks.figures().at(RankId{1}).loads, loads) << "it read what became its own";
}

// The step fails with the rank and the cause; the rank stays, and the next step has the right bytes.
TEST(ExchangeStore, AnExpertThatARankCannotReadFailsTheStepAlone) {
  const MemoryFiles disk = packed(golden_dir("qwen3-moe-top4-norm"), pack_options("none"));
  Driver whole("m", {.files = &disk});
  const Rows want = whole.run(some_tokens(9), 9);
  const std::pair<Fault, Code> kinds[] = {{Fault::kIoError, Code::kUnavailable}, {Fault::kFlippedBit, Code::kDataLoss}};
  for (const auto& [fault, code] : kinds) {
    FaultFiles faults(disk);
    faults.suffix = ".fgw";
    const ExpertLoading store = store_of(budgets_of(disk).first, false);
    ThreadRanks ranks("m", plan_of(disk, 2), "ref", 256, store, faults);
    Driver driver("m", {.files = &disk, .experts = store, .ranks = &ranks});
    faults.set(fault, 1);
    const auto broken = driver.try_run(some_tokens(9), 9);
    ASSERT_FALSE(broken.ok());
    EXPECT_EQ(broken.status().code(), code);
    EXPECT_NE(broken.status().message().find("rank 1: "), std::string::npos) << broken.status().message();
    EXPECT_GT(faults.faults, 0u);
    EXPECT_TRUE(ranks.dropped().empty()) << "it said so itself";
    faults.set(Fault::kNone, 1);
    driver.reset();
    EXPECT_TRUE(same_bytes(driver.run(some_tokens(9), 9), want));
  }
}

}  // namespace
}  // namespace foregate
