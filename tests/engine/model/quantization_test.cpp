// Load-time quantization: which format a weight gets, and how far the logits of a quantized model may lie from those
// of kernels/ref and of the model as it is.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/api/quant.h"
#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

WeightFormat chosen(WeightGroup group, DType stored, std::int64_t rows, std::int64_t cols, const char* word) {
  return choose_format(group, stored, rows, cols, {quantization_named(word)});
}

TEST(Quantization, KnowsItsWords) {
  EXPECT_EQ(quantization_named("q8_0"), WeightFormat::kQ8_0);
  EXPECT_EQ(quantization_named("q4_0"), WeightFormat::kQ4_0);
  EXPECT_EQ(quantization_named("q4_k"), WeightFormat::kQ4_K);
  for (const char* word : {"none", "", "q4_k_m", "Q8_0", "f16"}) EXPECT_FALSE(quantization_named(word)) << word;
}

TEST(Quantization, LeavesWhatItIsNotAskedFor) {
  EXPECT_EQ(chosen(WeightGroup::kExperts, DType::kBF16, 64, 256, "none"), WeightFormat::kBF16);
  EXPECT_EQ(chosen(WeightGroup::kExperts, DType::kQ6_K, 64, 256, "q4_0"), WeightFormat::kQ6_K);
  EXPECT_EQ(chosen(WeightGroup::kRouter, DType::kBF16, 64, 256, "q4_0"), WeightFormat::kF32);
  EXPECT_EQ(chosen(WeightGroup::kRouter, DType::kQ8_0, 64, 256, "none"), WeightFormat::kF32);
  EXPECT_EQ(chosen(WeightGroup::kSharedExpert, DType::kBF16, 1, 256, "q4_0"), WeightFormat::kBF16);
}

TEST(Quantization, FallsBackByColumns) {
  EXPECT_EQ(chosen(WeightGroup::kExperts, DType::kF16, 64, 512, "q4_k"), WeightFormat::kQ4_K);
  EXPECT_EQ(chosen(WeightGroup::kExperts, DType::kF16, 64, 192, "q4_k"), WeightFormat::kQ8_0);
  EXPECT_EQ(chosen(WeightGroup::kExperts, DType::kF16, 64, 40, "q4_k"), WeightFormat::kF16);
  EXPECT_EQ(chosen(WeightGroup::kLmHead, DType::kF32, 64, 512, "q4_0"), WeightFormat::kQ6_K);
  EXPECT_EQ(chosen(WeightGroup::kLmHead, DType::kF32, 64, 512, "q8_0"), WeightFormat::kQ8_0);
  EXPECT_EQ(chosen(WeightGroup::kEmbedding, DType::kF32, 64, 160, "q4_0"), WeightFormat::kQ8_0);
}

// Per row the largest difference over the largest logit; the median over rows, so that a router that is near a tie
// and falls the other way in one row does not decide.
double distance(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  std::vector<double> rows;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double difference = 0.0;
    double largest = 0.0;
    for (std::size_t v = 0; v < a[i].size(); ++v) {
      difference = std::max(difference, std::fabs(static_cast<double>(a[i][v]) - b[i][v]));
      largest = std::max(largest, std::fabs(static_cast<double>(b[i][v])));
    }
    rows.push_back(difference / largest);
  }
  std::nth_element(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2), rows.end());
  return rows[rows.size() / 2];
}

TEST(Quantization, EveryTableAgreesWithTheReference) {
  const std::vector<Token> tokens = {10, 200, 3000, 41, 5, 600, 7, 1234, 900, 77, 1, 402};
  Driver plain(demo_dir(), {.isa = "auto"});
  const auto exact = plain.run(tokens, tokens.size());
  // Bounds on the distance: of the quantization itself, seen 0.013 and 0.18; among tables, where a last bit of a
  // hidden row may move one int8 code, seen 0.005.
  for (const auto& [format, lossy] : {std::pair{"q8_0", 0.03}, std::pair{"q4_0", 0.4}}) {
    Driver reference(demo_dir(), {.isa = "ref", .quantization = format});
    const auto expected = reference.run(tokens, tokens.size());
    EXPECT_LT(distance(expected, exact), lossy) << format;
    EXPECT_GT(distance(expected, exact), 1e-4) << format << ": was it quantized at all?";
    for (const std::string& isa : runnable_isas()) {
      Driver driver(demo_dir(), {.isa = isa, .quantization = format});
      const double found = distance(driver.run(tokens, tokens.size()), expected);
      EXPECT_LT(found, 0.02) << format << " " << isa;
    }
  }
}

}  // namespace
}  // namespace foregate
