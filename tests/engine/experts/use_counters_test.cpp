#include "engine/experts/use_counters.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

const UseCounters kCounters{.rates = {{0.5F, 0, 0.25F}, {}, {1.0F}}};

TEST(UseCounters, ComeBackAsTheyWere) {
  const auto read = read_use_counters(write_use_counters(kCounters, 77), 77, "f");
  ASSERT_TRUE(read.ok()) << read.status().to_string();
  EXPECT_EQ(read->rates, kCounters.rates);
  const auto none = read_use_counters(write_use_counters({}, 1), 1, "f");
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->empty());
}

TEST(UseCounters, OfOtherWeightsAreRefused) {
  const auto read = read_use_counters(write_use_counters(kCounters, 77), 78, "counters.bin");
  EXPECT_EQ(read.status().code(), Code::kInvalidArgument);
  EXPECT_NE(read.status().message().find("counters.bin"), std::string::npos);
}

TEST(UseCounters, EveryFlippedByteIsFound) {
  const std::vector<std::byte> good = write_use_counters(kCounters, 77);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::vector<std::byte> bad = good;
    bad[i] ^= std::byte{0x10};
    EXPECT_FALSE(read_use_counters(bad, 77, "f").ok()) << i;
  }
}

TEST(UseCounters, EveryOtherLengthIsFound) {
  const std::vector<std::byte> good = write_use_counters(kCounters, 77);
  for (std::size_t size = 0; size < good.size(); ++size) {
    const std::vector<std::byte> cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(read_use_counters(cut, 77, "f").status().code(), Code::kDataLoss) << size;
  }
  std::vector<std::byte> longer = good;
  longer.push_back({});
  EXPECT_FALSE(read_use_counters(longer, 77, "f").ok());
}

// A wrong count under a right checksum: someone else's writer.
TEST(UseCounters, CountsAreCheckedAgainstTheFile) {
  UseCounters many;
  many.rates.resize(kMaxCountedLayers + 1);
  EXPECT_EQ(read_use_counters(write_use_counters(many, 1), 1, "f").status().code(), Code::kDataLoss);
  const UseCounters negative{.rates = {{-1.0F}}};
  EXPECT_EQ(read_use_counters(write_use_counters(negative, 1), 1, "f").status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace foregate
