// The plan of a routing: shares, biases, orders and router rows, each against its definition.
#include "tools/bench/planted_routing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tools/bench/random_weights.h"

namespace foregate {
namespace {

TEST(PlantedShares, SumToTopKAndFollowThePowerBelowTheCap) {
  for (const double skew : {0.0, 0.3, 0.8, 1.0, 2.0, 4.0}) {
    for (const auto& [experts, top_k] : {std::pair{64, 8}, {128, 8}, {32, 4}, {8, 2}, {16, 4}}) {
      const std::vector<double> shares = planted_shares(experts, top_k, skew);
      EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), top_k, 1e-6) << skew << " " << experts;
      for (std::size_t r = 1; r < shares.size(); ++r) {
        ASSERT_LE(shares[r - 1], kMostPopular + 1e-12);
        if (shares[r - 1] >= kMostPopular - 1e-9) continue;
        const double power = std::pow(static_cast<double>(r) / static_cast<double>(r + 1), skew);
        ASSERT_NEAR(shares[r] / shares[r - 1], power, 1e-9) << skew << " " << experts << " " << r;
      }
    }
  }
  EXPECT_DOUBLE_EQ(planted_shares(64, 8, 0.0)[17], 0.125);
  EXPECT_DOUBLE_EQ(planted_shares(4, 4, 2.0)[3], 1.0);
}

// Top-k of normal logits plus biases.
std::vector<double> drawn_shares(const std::vector<float>& biases, int top_k, double sigma) {
  constexpr int kTokens = 4000;
  FastRandom random(7);
  std::vector<double> shares(biases.size(), 0.0);
  std::vector<std::pair<double, std::size_t>> logits(biases.size());
  for (int t = 0; t < kTokens; ++t) {
    for (std::size_t e = 0; e < biases.size(); ++e) logits[e] = {biases[e] + sigma * random.normal(), e};
    std::partial_sort(logits.begin(), logits.begin() + top_k, logits.end(), std::greater<>());
    for (int k = 0; k < top_k; ++k) shares[logits[static_cast<std::size_t>(k)].second] += 1.0 / kTokens;
  }
  return shares;
}

TEST(PlantedBiases, GiveEachRankItsShareOfNormalLogits) {
  for (const double skew : {0.5, 1.0, 1.5}) {
    for (const auto& [experts, top_k] : {std::pair{64, 8}, {128, 8}, {32, 4}}) {
      const std::vector<double> planted = planted_shares(experts, top_k, skew);
      const std::vector<double> drawn = drawn_shares(planted_biases(experts, top_k, skew, 0.9), top_k, 0.9);
      for (std::size_t r = 0; r < planted.size(); ++r) {
        EXPECT_NEAR(drawn[r], planted[r], 0.06) << skew << " " << experts << " rank " << r;
      }
    }
  }
}

TEST(PlantedBiases, AreNoneWithoutSkew) {
  for (const float bias : planted_biases(64, 8, 0.0, 0.9)) EXPECT_EQ(bias, 0.0f);
}

TEST(ExpertOfRank, IsAnOrderOfItsLayerAndSeed) {
  const auto order = expert_of_rank(64, 0, 1);
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int32_t e = 0; e < 64; ++e) EXPECT_EQ(sorted[static_cast<std::size_t>(e)], e);
  EXPECT_EQ(order, expert_of_rank(64, 0, 1));
  EXPECT_NE(order, expert_of_rank(64, 1, 1));
  EXPECT_NE(order, expert_of_rank(64, 0, 2));
}

TEST(RouterRows, OfOneRankCorrelateFromLayerToLayerAsPlanted) {
  constexpr std::int32_t kExperts = 16;
  constexpr std::int32_t kHidden = 4096;
  for (const double affinity : {0.0, 0.5, 0.9, 1.0}) {
    const RoutingPlan plan{0.0, affinity, 3};
    RouterRows rows(kExperts, kHidden, 0.02f, plan);
    const std::vector<float> first = rows.next();
    const std::vector<float> second = rows.next();
    const auto at = [&](const std::vector<float>& layer, std::int32_t number, std::size_t rank) {
      return layer.data() + static_cast<std::ptrdiff_t>(expert_of_rank(kExperts, number, plan.seed)[rank]) * kHidden;
    };
    for (std::size_t r = 0; r < kExperts; ++r) {
      double product = 0.0;
      double squares = 0.0;
      for (std::int32_t c = 0; c < kHidden; ++c) {
        product += static_cast<double>(at(first, 0, r)[c]) * at(second, 1, r)[c];
        squares += static_cast<double>(at(second, 1, r)[c]) * at(second, 1, r)[c];
      }
      EXPECT_NEAR(product / kHidden / (0.02 * 0.02), affinity, 0.08) << affinity << " rank " << r;
      EXPECT_NEAR(std::sqrt(squares / kHidden), 0.02, 0.001);
    }
  }
}

TEST(CheckRouting, NamesWhatIsOutOfRange) {
  EXPECT_TRUE(check_routing({1.0, 1.0, 0}).ok());
  EXPECT_EQ(check_routing({-0.1, 0.0, 0}).field(), "skew");
  EXPECT_EQ(check_routing({kMostSkew + 1, 0.0, 0}).field(), "skew");
  EXPECT_EQ(check_routing({0.0, 1.1, 0}).field(), "affinity");
  EXPECT_EQ(check_routing({0.0, std::nan(""), 0}).field(), "affinity");
}

}  // namespace
}  // namespace foregate
