// The arithmetic behind a line: spreads, limits, names, memory counters.
#include "tools/bench/bench_result.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_device.h"
#include "tools/bench/process_memory.h"

namespace foregate {
namespace {

TEST(SpreadOf, IsMeanSampleDeviationAndMedian) {
  const Spread odd = spread_of({4.0, 1.0, 7.0});
  EXPECT_DOUBLE_EQ(odd.mean, 4.0);
  EXPECT_DOUBLE_EQ(odd.deviation, 3.0);
  EXPECT_DOUBLE_EQ(odd.median, 4.0);
  EXPECT_DOUBLE_EQ(spread_of({1.0, 2.0, 3.0, 10.0}).median, 2.5);
  EXPECT_DOUBLE_EQ(spread_of({5.0}).deviation, 0.0);
}

TEST(LimitOf, IsWhatAllowsLess) {
  BenchLine line;
  line.bytes_per_token = 1e9;
  line.ops_per_token = 1e9;
  line.limits = {20e9, 600e9, 10e9};
  EXPECT_DOUBLE_EQ(limit_of(line, true).tokens_per_second, 20.0);
  EXPECT_STREQ(limit_of(line, true).by, "memory");
  EXPECT_DOUBLE_EQ(limit_of(line, false).tokens_per_second, 10.0);
  EXPECT_STREQ(limit_of(line, false).by, "f32");
  line.bytes_per_token = 1e6;
  EXPECT_DOUBLE_EQ(limit_of(line, true).tokens_per_second, 600.0);
  EXPECT_STREQ(limit_of(line, true).by, "int8");
}

BenchLine line_with_experts(const ExpertFigures& experts) {
  BenchLine line;
  line.test = {0, 10, 2, 0, 512, DType::kF32};
  line.samples_seconds = {1.0, 3.0};  // 40 tokens
  line.bytes_per_token = 1e8;
  line.ops_per_token = 1e8;
  line.limits = {20e9, 600e9, 600e9, 1e9};
  line.experts = experts;
  return line;
}

TEST(LimitOf, CountsWhatIsReadFromDisk) {
  const BenchLine line = line_with_experts({.hits = 60, .misses = 20, .loads = 20, .loaded_bytes = 400'000'000});
  const BenchLimit limit = limit_of(line, true);
  EXPECT_STREQ(limit.by, "disk");
  EXPECT_DOUBLE_EQ(limit.tokens_per_second, 100.0);  // 10 MB a token at 1 GB/s
  BenchLine fast = line;
  fast.limits.disk_bytes_per_second = 4e9;
  EXPECT_STREQ(limit_of(fast, true).by, "memory");
  BenchLine unknown = line;
  unknown.limits.disk_bytes_per_second = 0.0;
  EXPECT_STREQ(limit_of(unknown, true).by, "memory");
  EXPECT_STREQ(limit_of(line_with_experts({.hits = 80}), true).by, "memory");
}

// What was read for nothing must not make the bound easier to reach.
TEST(LimitOf, HintsThatNothingUsedAreNotNeeded) {
  const BenchLine line = line_with_experts({.hits = 70,
                                            .misses = 10,
                                            .loads = 20,
                                            .loaded_bytes = 400'000'000,
                                            .hint_bytes = {.wasted = 60'000'000},
                                            .certain_bytes = {.wasted = 40'000'000}});
  EXPECT_DOUBLE_EQ(expert_rates(line).bytes_per_token, 10e6);
  EXPECT_DOUBLE_EQ(expert_rates(line).needed_bytes, 7.5e6);
  EXPECT_NEAR(limit_of(line, true).tokens_per_second, 133.33, 0.01);
}

TEST(ExpertRates, AreSharesOfNeedsAndTime) {
  const ExpertRates rates = expert_rates(line_with_experts({.hits = 60, .misses = 20, .stall_seconds = 1.0}));
  EXPECT_DOUBLE_EQ(rates.hit_rate, 0.75);
  EXPECT_DOUBLE_EQ(rates.stall_share, 0.25);
  EXPECT_DOUBLE_EQ(expert_rates(line_with_experts({})).hit_rate, 0.0);
}

TEST(FiguresBetween, AreDifferencesOfCountersAndTheLaterSlots) {
  const ExpertFigures earlier{.hits = 1,
                              .misses = 2,
                              .evictions = 3,
                              .loads = 4,
                              .loaded_bytes = 5,
                              .hint_bytes = {9, 4, 3, 2},
                              .slots_used = 6};
  const ExpertFigures later{.hits = 10,
                            .misses = 20,
                            .evictions = 30,
                            .loads = 40,
                            .loaded_bytes = 50,
                            .hint_bytes = {10, 6, 6, 6},
                            .stall_seconds = 2.5,
                            .slots = 9,
                            .slots_used = 8};
  const ExpertFigures between = figures_between(earlier, later);
  EXPECT_EQ(between.hits, 9u);
  EXPECT_EQ(between.misses, 18u);
  EXPECT_EQ(between.evictions, 27u);
  EXPECT_EQ(between.loads, 36u);
  EXPECT_EQ(between.loaded_bytes, 45u);
  EXPECT_EQ(between.hint_bytes.asked, 1u);
  EXPECT_EQ(between.hint_bytes.useful, 2u);
  EXPECT_EQ(between.hint_bytes.late, 3u);
  EXPECT_EQ(between.hint_bytes.wasted, 4u);
  EXPECT_DOUBLE_EQ(between.stall_seconds, 2.5);
  EXPECT_EQ(between.slots, 9u);
  EXPECT_EQ(between.slots_used, 8u);
}

TEST(TestName, SaysWhatRuns) {
  EXPECT_EQ(test_name({512, 0, 1, 0, 512, DType::kF32}), "pp512");
  EXPECT_EQ(test_name({0, 128, 8, 1024, 512, DType::kF32}), "tg128 x 8 @ d1024");
  EXPECT_EQ(test_name({64, 32, 1, 0, 512, DType::kF32}), "pp64+tg32");
}

TEST(BenchNote, AddsThatSmallWeightsMayBeCached) {
  EXPECT_EQ(bench_note("", kCacheableBytes), "");
  EXPECT_EQ(bench_note("so", kCacheableBytes), "so");
  EXPECT_NE(bench_note("", 1000).find("caches"), std::string::npos);
  EXPECT_EQ(bench_note("so", 1000).find("so; the weights"), 0u);
}

TEST(ParseKbLine, ReadsTheNamedLineAlone) {
  const char* text = "VmPeak:\t  9000 kB\nVmHWM:\t  1234 kB\nAnonHugePages:    2048 kB\nBad: x kB\nNone:\nOdd: 5 MB";
  EXPECT_EQ(parse_kb_line(text, "VmHWM"), 1234 * 1024);
  EXPECT_EQ(parse_kb_line(text, "AnonHugePages"), 2048 * 1024);
  EXPECT_EQ(parse_kb_line(text, "HWM"), std::nullopt);
  EXPECT_EQ(parse_kb_line(text, "Bad"), std::nullopt);
  EXPECT_EQ(parse_kb_line(text, "None"), std::nullopt);
  EXPECT_EQ(parse_kb_line(text, "Odd"), std::nullopt);
  EXPECT_EQ(parse_kb_line("", "VmHWM"), std::nullopt);
}

TEST(ProcessMemory, PeakBeginsAnewAfterAReset) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  {
    const Memory buffer = allocate_host(kBytes);
    ASSERT_NE(buffer.data(), nullptr);
    std::fill_n(buffer.data(), kBytes, std::byte{1});
    EXPECT_GE(process_memory().peak_rss_bytes, static_cast<std::int64_t>(kBytes));
  }
  const std::int64_t before = process_memory().peak_rss_bytes;
  if (!reset_peak_rss()) GTEST_SKIP() << "the system does not let the peak be reset";
  EXPECT_LT(process_memory().peak_rss_bytes, before - static_cast<std::int64_t>(kBytes / 2));
}

TEST(MeasureLimits, ReadsTheMemoryItIsGivenOrItsOwn) {
  constexpr std::size_t kBytes = std::size_t{8} << 20;
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  const std::vector<Line> lines(kBytes / sizeof(Line));
  const auto* data = reinterpret_cast<const std::byte*>(lines.data());
  LimitOptions options;
  options.threads = 2;
  options.read_bytes = kBytes / 2;
  options.rounds = 1;
  options.round_seconds = 1e-4;
  for (const bool given : {false, true}) {
    // Three unequal spans, of which the last is not needed whole.
    if (given) options.read_from = {{data, 1 << 20}, {data + (1 << 20), 2 << 20}, {data + (3 << 20), 5 << 20}};
    EXPECT_EQ(reads_given_memory(options), given);
    const MachineLimits limits = measure_limits(options);
    EXPECT_GT(limits.read_bytes_per_second, 1e6);
    EXPECT_GT(limits.int8_macs_per_second, 1e6);
    EXPECT_GT(limits.f32_macs_per_second, 1e6);
    EXPECT_TRUE(std::isfinite(limits.read_bytes_per_second));
  }
}

}  // namespace
}  // namespace foregate
