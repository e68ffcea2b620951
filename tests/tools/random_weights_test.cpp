// Random packed weights of every format, read back through the definition of the layouts (unpack_row).
#include "tools/bench/random_weights.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/api/blocks.h"

namespace foregate {
namespace {

constexpr std::int64_t kRows = 64;
constexpr std::int64_t kCols = 1024;
constexpr float kDeviation = 0.02f;

std::vector<std::byte> filled(WeightFormat format, std::uint64_t seed) {
  std::vector<std::byte> packed(static_cast<std::size_t>(packed_bytes(format, kRows, kCols)));
  fill_random(format, kRows, kCols, kDeviation, seed, packed.data());
  return packed;
}

std::vector<float> row_of(WeightFormat format, const std::vector<std::byte>& packed, std::int64_t row) {
  std::vector<float> values(kCols);
  unpack_row({packed.data(), format, kRows, kCols}, row, values.data());
  return values;
}

class RandomWeights : public ::testing::TestWithParam<WeightFormat> {};

TEST_P(RandomWeights, AreFiniteAndHaveTheDeviationAskedForAndNoMean) {
  const std::vector<std::byte> packed = filled(GetParam(), 5);
  double sum = 0.0;
  double squares = 0.0;
  std::vector<double> column_sums(kCols, 0.0);
  for (std::int64_t r = 0; r < kRows; ++r) {
    const std::vector<float> values = row_of(GetParam(), packed, r);
    for (std::size_t c = 0; c < values.size(); ++c) {
      ASSERT_TRUE(std::isfinite(values[c])) << r << " " << c;
      sum += values[c];
      squares += static_cast<double>(values[c]) * values[c];
      column_sums[c] += values[c];
    }
  }
  const double count = kRows * kCols;
  const double deviation = std::sqrt(squares / count);
  const bool powers_of_two = !is_quantized(GetParam()) || GetParam() == WeightFormat::kMxfp4;
  EXPECT_NEAR(std::log2(deviation / kDeviation), 0.0, powers_of_two ? 0.6 : 0.1);
  EXPECT_LT(std::abs(sum / count), 0.05 * deviation);
  // Nothing in common between rows: the sums over rows are as small as those of independent numbers.
  double column_squares = 0.0;
  for (const double value : column_sums) column_squares += value * value;
  EXPECT_LT(std::sqrt(column_squares / kCols), 1.3 * deviation * std::sqrt(static_cast<double>(kRows)));
}

TEST_P(RandomWeights, DependOnTheSeedAlone) {
  EXPECT_EQ(filled(GetParam(), 5), filled(GetParam(), 5));
  EXPECT_NE(filled(GetParam(), 5), filled(GetParam(), 6));
}

std::vector<WeightFormat> all_formats() {
  std::vector<WeightFormat> formats;
  for (int f = 0; f < kWeightFormats; ++f) formats.push_back(static_cast<WeightFormat>(f));
  return formats;
}

INSTANTIATE_TEST_SUITE_P(Formats, RandomWeights, ::testing::ValuesIn(all_formats()),
                         [](const auto& info) { return std::string(format_name(info.param)); });

TEST(PackF32, PutsRowsInLanesAndZerosInThePadding) {
  constexpr std::int64_t rows = 18;
  constexpr std::int64_t cols = 3;
  std::vector<float> values(rows * cols);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  std::vector<std::byte> packed(static_cast<std::size_t>(packed_bytes(WeightFormat::kF32, rows, cols)), std::byte{7});
  pack_f32(values, rows, cols, packed.data());
  for (std::int64_t r = 0; r < rows; ++r) {
    float row[cols];
    unpack_row({packed.data(), WeightFormat::kF32, rows, cols}, r, row);
    for (std::int64_t c = 0; c < cols; ++c) EXPECT_EQ(row[c], values[static_cast<std::size_t>(r * cols + c)]);
  }
  const auto* floats = reinterpret_cast<const float*>(packed.data());
  for (int lane = 2; lane < kRowInterleave; ++lane) EXPECT_EQ(floats[cols * kRowInterleave + lane], 0.0f);
}

TEST(FastRandom, UniformAndNormalNumbersHaveTheirMoments) {
  FastRandom random(3);
  double sum = 0.0;
  double squares = 0.0;
  double fourth = 0.0;
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = random.uniform();
    ASSERT_TRUE(u > 0.0 && u < 1.0);
    ASSERT_LT(random.below(7), 7u);
    const double x = random.normal();
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 0.03);
  EXPECT_NEAR(squares / kDraws, 1.0, 0.05);
  EXPECT_NEAR(fourth / kDraws, 3.0, 0.3);
}

}  // namespace
}  // namespace foregate
