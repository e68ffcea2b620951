// The passes over a row of logits against plain restatements of them.
#include "engine/sample/logit_row.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>

#include "engine/base/rng.h"
#include "engine/sample/sampler.h"

namespace foregate {
namespace {

constexpr std::size_t kSizes[] = {1, 2, 15, 16, 63, 64, 65, 127, 128, 129, 1000, 4096, 50'304, 151'936};

// Coarse values, so that ties are common.
std::vector<float> row_of(std::uint64_t seed, std::size_t size, double steps = 4096) {
  std::vector<float> row;
  for (std::size_t i = 0; i < size; ++i) {
    row.push_back(static_cast<float>(std::floor(uniform01(seed, 3, i) * steps) / steps * 16 - 8));
  }
  return row;
}

std::vector<float> maxima_of(const std::vector<float>& row) {
  std::vector<float> maxima;
  block_maxima(row, maxima);
  return maxima;
}

TEST(LogitRow, OneBadValueAnywhereIsFound) {
  for (const std::size_t size : {1, 16, 17, 100}) {
    for (std::size_t at = 0; at < size; ++at) {
      std::vector<float> row(size, 1.0f);
      EXPECT_TRUE(all_finite(row));
      for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
        row[at] = bad;
        EXPECT_FALSE(all_finite(row)) << size << " " << at;
      }
    }
  }
}

TEST(LogitRow, FirstGreatestIsTheLowestIndex) {
  for (const std::size_t size : kSizes) {
    for (const double steps : {3.0, 50.0, 1e9}) {
      const std::vector<float> row = row_of(size, size, steps);
      const auto want = std::max_element(row.begin(), row.end()) - row.begin();
      EXPECT_EQ(first_greatest(row, maxima_of(row)), static_cast<std::size_t>(want)) << size;
    }
  }
}

TEST(LogitRow, GreatestWithTiesAreThoseOfASortedRow) {
  for (const std::size_t size : kSizes) {
    const std::vector<float> row = row_of(size + 1, size, 300);
    std::vector<float> sorted = row;
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    for (const std::size_t k : {std::size_t{1}, std::size_t{2}, std::size_t{40}, std::size_t{700}, size}) {
      if (k > size) continue;
      std::vector<std::int32_t> want;
      for (std::size_t i = 0; i < size; ++i) {
        if (row[i] >= sorted[k - 1]) want.push_back(static_cast<std::int32_t>(i));
      }
      std::vector<std::int32_t> got;
      greatest_with_ties(row, maxima_of(row), k, got);
      EXPECT_EQ(got, want) << size << " " << k;
    }
  }
}

TEST(LogitRow, WeightsAreExponentialsAndSumsTheirs) {
  for (const std::size_t size : kSizes) {
    std::vector<float> row = row_of(size + 2, size, 1e9);
    for (std::size_t i = 0; i < size; i += 7) row[i] *= 12;  // to exponents of -192
    if (size > 3) row[2] = -std::numeric_limits<float>::infinity();
    const float highest = *std::max_element(row.begin(), row.end());
    std::vector<float> weights;
    std::vector<double> sums;
    exp_weights(row, highest, 0.7f, weights, sums);
    ASSERT_EQ(weights.size(), size);
    for (std::size_t i = 0; i < size; ++i) {
      const double exponent = static_cast<double>((row[i] - highest) * 0.7f);
      if (exponent < -87) {
        EXPECT_EQ(weights[i], 0.0f);
      } else {
        EXPECT_NEAR(weights[i] / std::exp(exponent), 1.0, 2e-7) << exponent;
      }
    }
    for (std::size_t b = 0; b < sums.size(); ++b) {
      double want = 0;
      for (std::size_t i = b * kLogitBlock; i < std::min(size, (b + 1) * kLogitBlock); ++i) want += weights[i];
      EXPECT_NEAR(sums[b], want, 1e-12 * (1 + want));
    }
  }
}

// Draws from the whole row of many blocks: Pearson's statistic against the softmax, by groups of tokens.
TEST(LogitRow, DrawsFromTheWholeRowFollowItsWeights) {
  constexpr std::size_t kSize = 1000;
  constexpr int kGroups = 100;
  constexpr int kDraws = 200'000;
  const std::vector<float> row = row_of(8, kSize, 1e9);
  std::vector<double> want(kGroups, 0.0);
  double total = 0;
  for (std::size_t i = 0; i < kSize; ++i) {
    const double weight = std::exp(static_cast<double>(row[i]) / 4);
    want[i % kGroups] += weight;
    total += weight;
  }
  SamplingParams params;
  params.temperature = 4.0f;
  const std::vector<Token> prompt = {1};
  Sampler sampler(static_cast<std::int32_t>(kSize));
  std::vector<int> seen(kGroups, 0);
  for (int i = 0; i < kDraws; ++i) {
    SampleInput input;
    input.logits = row;
    input.prompt = prompt;
    input.params = &params;
    input.seed = static_cast<std::uint64_t>(i);
    ++seen[static_cast<std::size_t>(sampler.sample(input)->token) % kGroups];
  }
  double statistic = 0;
  for (int g = 0; g < kGroups; ++g) {
    const double expected = want[static_cast<std::size_t>(g)] / total * kDraws;
    statistic +=
        (seen[static_cast<std::size_t>(g)] - expected) * (seen[static_cast<std::size_t>(g)] - expected) / expected;
  }
  EXPECT_LT(statistic, 99 + 5 * std::sqrt(2.0 * 99));  // five sigma of chi-square with 99 degrees of freedom
  EXPECT_GT(statistic, 99 - 5 * std::sqrt(2.0 * 99));
}

}  // namespace
}  // namespace foregate
