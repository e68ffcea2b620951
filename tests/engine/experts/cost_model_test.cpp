// Costs follow from measured figures by interpolation, learn from loads, and come back from their file or are refused.
#include "engine/experts/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/experts/cost_file.h"

namespace foregate {
namespace {

CostModel some_costs() {
  CostModel costs;
  costs.chunk_bytes = 1 << 20;
  costs.depth = 8;
  for (const std::uint64_t bytes : {1 << 16, 1 << 18, 1 << 20}) {
    for (const std::uint32_t depth : {1, 2, 8}) {
      const double rate = 1e8 * depth * (bytes == (1 << 16) ? 1 : bytes == (1 << 18) ? 2 : 3);
      costs.reads.push_back({static_cast<std::uint64_t>(bytes), depth, rate, 1e-3});
    }
  }
  costs.memory_bytes_per_second = 2e10;
  costs.memory_bytes_per_second_reading = 1.5e10;
  costs.reading_bytes_per_second = 1e9;
  costs.kernels = {{"q4_0", 1'000'000, {{1, 1e-4}, {8, 1.5e-4}, {64, 10e-4}}}, {"f32", 8'000'000, {{1, 8e-4}}}};
  return costs;
}

TEST(CostModel, ReadsAreMeasuredOnesAndBetweenThem) {
  const CostModel costs = some_costs();
  ASSERT_TRUE(costs.check().ok()) << costs.check().to_string();
  for (const ReadCost& read : costs.reads) {
    EXPECT_DOUBLE_EQ(costs.table_bytes_per_second(static_cast<double>(read.bytes), read.depth), read.bytes_per_second);
  }
  EXPECT_NEAR(costs.table_bytes_per_second(1 << 17, 1), 1.5e8, 1) << "half way in logarithms";
  EXPECT_NEAR(costs.table_bytes_per_second(1 << 16, 4), 5e8, 1) << "half way from 2 to 8";
  EXPECT_DOUBLE_EQ(costs.table_bytes_per_second(1 << 25, 100), 24e8) << "beyond the table it stays";
  EXPECT_DOUBLE_EQ(costs.table_bytes_per_second(1 << 15, 1), 0.5e8) << "below it a read takes as long";
}

TEST(CostModel, LoadsGoInChunks) {
  const CostModel costs = some_costs();
  EXPECT_DOUBLE_EQ(costs.depth_of(1, 100'000), 1);
  EXPECT_DOUBLE_EQ(costs.depth_of(1, (4 << 20) - 5), 4);
  EXPECT_DOUBLE_EQ(costs.depth_of(3, 4 << 20), 8);
  EXPECT_DOUBLE_EQ(costs.load_seconds(2, 4 << 20), 2.0 * (4 << 20) / 24e8);
  EXPECT_DOUBLE_EQ(costs.load_seconds(1, 1 << 18), (1 << 18) / 2e8);
  EXPECT_LT(costs.load_seconds(8, 1 << 18), 8 * costs.load_seconds(1, 1 << 18)) << "together they are faster";
  EXPECT_EQ(CostModel().load_seconds(1, 1 << 20), 0.0);
  EXPECT_NEAR(cost_of_bandwidth(5e8).load_seconds(3, 1'000'000), 6e-3, 1e-12);
}

TEST(CostModel, KernelsAreLinearBetweenRowsAndGoOn) {
  const CostModel costs = some_costs();
  EXPECT_DOUBLE_EQ(costs.kernel_seconds(1, 1'000'000, 1), 1e-4);
  EXPECT_DOUBLE_EQ(costs.kernel_seconds(3, 1'000'000, 8), 4.5e-4);
  EXPECT_NEAR(costs.kernel_seconds(1, 1'100'000, 36), (1.5e-4 + 10e-4) / 2, 1e-12) << "the nearest size";
  EXPECT_NEAR(costs.kernel_seconds(1, 1'000'000, 120), 18.5e-4, 1e-12);
  EXPECT_DOUBLE_EQ(costs.kernel_seconds(2, 7'000'000, 40), 16e-4);
  EXPECT_EQ(CostModel().kernel_seconds(1, 1'000'000, 1), 0.0);
}

TEST(CostModel, LearnsFromLoadsAndForgets) {
  CostModel costs = some_costs();
  const double before = costs.load_seconds(1, 1 << 20);
  costs.observe(0, 1.0, 1 << 20, 1);
  costs.observe(1000, 0.0, 1 << 20, 1);
  EXPECT_EQ(costs.observed_factor, 0.0) << "nothing was observed";
  costs.observe(15'000'000, 0.1, 1 << 20, 1);  // half of what the table says
  EXPECT_GT(costs.load_seconds(1, 1 << 20), before);
  EXPECT_LT(costs.load_seconds(1, 1 << 20), 1.1 * before) << "a moment of it says little";
  for (int i = 0; i < 1000; ++i) costs.observe(15'000'000, 0.1, 1 << 20, 1);
  EXPECT_NEAR(costs.load_seconds(1, 1 << 20), 2 * before, 1e-6);
  EXPECT_NEAR(costs.load_seconds(8, 1 << 18), 2 * some_costs().load_seconds(8, 1 << 18), 1e-6);
  EXPECT_NEAR(costs.observed_bytes_per_second, 1.5e8, 1e3);
  for (int i = 0; i < 1000; ++i) costs.observe(30'000'000, 0.1, 1 << 20, 1);
  EXPECT_NEAR(costs.load_seconds(1, 1 << 20), before, 1e-6) << "the disk is what it was";
  for (int i = 0; i < 20'000; ++i) costs.observe(3'000'000, i % 2 == 0 ? 0.01 : 0.03, 1 << 20, 1);
  EXPECT_NEAR(costs.observed_factor, 2.0, 0.01) << "40 ms where 20 were expected";
  EXPECT_NEAR(costs.observed_bytes_per_second, 1.5e8, 1e6);
  for (int i = 0; i < 1000; ++i) costs.observe(1, 10.0, 1 << 20, 1);
  EXPECT_LE(costs.load_seconds(1, 1 << 20), 65 * before);
  EXPECT_TRUE(costs.check().ok());
}

TEST(CostModel, DecodeTakesTheLongerOfComputingAndReading) {
  const CostModel costs = some_costs();
  const DecodeWork work{.dense_bytes = 20'000'000, .expert_bytes = {1'000'000, 1'000'000}, .top_k = 4};
  const DecodeEstimate all = estimate_decode(costs, work, 1.0);
  EXPECT_NEAR(all.compute_seconds, 1e-3 + 8e-4, 1e-12);
  EXPECT_EQ(all.read_seconds, 0.0);
  EXPECT_NEAR(all.tokens_per_second(), 1 / 1.8e-3, 1e-6);
  const DecodeEstimate half = estimate_decode(costs, work, 0.5);
  EXPECT_NEAR(half.missed_bytes, 4e6, 1e-6);
  EXPECT_NEAR(half.read_seconds, 2 * costs.load_seconds(2, 1'000'000), 1e-12);
  EXPECT_NEAR(half.tokens_per_second(), 1 / half.read_seconds, 1e-6);
  EXPECT_LT(half.tokens_per_second(), all.tokens_per_second());
  EXPECT_NEAR(estimate_decode(costs, work, 0.0).missed_bytes, 8e6, 1e-6);
  EXPECT_EQ(estimate_decode(costs, work, 0.0).compute_seconds, all.compute_seconds);
}

TEST(CostModel, FiguresThatCannotBeAreRefused) {
  const auto refused = [](auto change) {
    CostModel costs = some_costs();
    change(costs);
    return !costs.check().ok();
  };
  EXPECT_FALSE(refused([](CostModel&) {}));
  EXPECT_TRUE(refused([](CostModel& c) { c.reads.clear(); }));
  EXPECT_TRUE(refused([](CostModel& c) { c.reads.pop_back(); }));
  EXPECT_TRUE(refused([](CostModel& c) { std::swap(c.reads[0], c.reads[4]); }));
  EXPECT_TRUE(refused([](CostModel& c) { c.reads[3].bytes_per_second = 0; }));
  EXPECT_TRUE(refused([](CostModel& c) { c.reads[3].latency_seconds = std::numeric_limits<double>::quiet_NaN(); }));
  EXPECT_TRUE(refused([](CostModel& c) { c.memory_bytes_per_second = std::numeric_limits<double>::infinity(); }));
  EXPECT_TRUE(refused([](CostModel& c) { c.observed_factor = -1; }));
  EXPECT_TRUE(refused([](CostModel& c) { c.chunk_bytes = 0; }));
  EXPECT_TRUE(refused([](CostModel& c) { c.kernels[0].points[1].rows = 1; }));
  EXPECT_TRUE(refused([](CostModel& c) { c.kernels[0].points.clear(); }));
  EXPECT_TRUE(refused([](CostModel& c) { c.kernels[1].expert_bytes = 0; }));
}

std::vector<CostEntry> some_entries() {
  CostModel other = some_costs();
  other.observe(1'000'000, 0.1, 1 << 20, 2);
  return {{"a processor, 2 cores, avx2, 2 threads", some_costs()}, {"another", other}};
}

void expect_same(const CostModel& a, const CostModel& b) {
  EXPECT_EQ(write_cost_file(std::vector<CostEntry>{{"", a}}, 0), write_cost_file(std::vector<CostEntry>{{"", b}}, 0));
}

TEST(CostFile, ComesBackAsItWasWritten) {
  const auto bytes = write_cost_file(some_entries(), 99);
  const auto back = read_cost_file(bytes, 99, "f");
  ASSERT_TRUE(back.ok()) << back.status().to_string();
  ASSERT_EQ(back.value().size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back.value()[i].machine, some_entries()[i].machine);
    expect_same(back.value()[i].costs, some_entries()[i].costs);
    EXPECT_EQ(back.value()[i].costs.load_seconds(3, 777'777), some_entries()[i].costs.load_seconds(3, 777'777));
  }
  EXPECT_EQ(find_costs(back.value(), "a third"), nullptr);
  EXPECT_NE(find_costs(back.value(), "another"), nullptr);
}

TEST(CostFile, DamageIsFoundAtEveryByte) {
  const auto good = write_cost_file(some_entries(), 99);
  for (std::size_t i = 0; i < good.size(); ++i) {
    auto bytes = good;
    bytes[i] ^= std::byte{16};
    EXPECT_FALSE(read_cost_file(bytes, 99, "f").ok()) << i;
    EXPECT_FALSE(read_cost_file(std::span(good).first(i), 99, "f").ok()) << i;
  }
  EXPECT_EQ(read_cost_file(good, 98, "f").status().code(), Code::kInvalidArgument);
}

// Whole files whose numbers are wrong: the checksum holds.
TEST(CostFile, FiguresAreChecked) {
  auto entries = some_entries();
  entries[1].costs.reads[0].bytes_per_second = -1;
  const auto status = read_cost_file(write_cost_file(entries, 1), 1, "f").status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("f, offset"), std::string::npos);
  entries = std::vector<CostEntry>(kMaxCostEntries + 1, some_entries()[0]);
  EXPECT_EQ(read_cost_file(write_cost_file(entries, 1), 1, "f").status().code(), Code::kDataLoss);
  entries = {{std::string(kMaxCostText + 1, 'm'), some_costs()}};
  EXPECT_EQ(read_cost_file(write_cost_file(entries, 1), 1, "f").status().code(), Code::kDataLoss);
}

TEST(CostFile, AMachineHasOneEntryAndTheOldestGo) {
  std::vector<CostEntry> entries;
  for (int i = 0; i < 40; ++i) put_costs(entries, {"m" + std::to_string(i % 20), some_costs()});
  EXPECT_EQ(entries.size(), kMaxCostEntries);
  EXPECT_EQ(entries[0].machine, "m19");
  put_costs(entries, {"m10", CostModel()});
  EXPECT_EQ(entries.size(), kMaxCostEntries);
  EXPECT_TRUE(find_costs(entries, "m10")->empty());
}

}  // namespace
}  // namespace foregate
