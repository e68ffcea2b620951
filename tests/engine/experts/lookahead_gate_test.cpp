// The gate of the lookahead against plain restatements of its rule.
#include "engine/experts/lookahead_gate.h"

#include <gtest/gtest.h>

#include <random>

namespace foregate {
namespace {

constexpr LayerId kLayer{1};

LookaheadGate trained(double right, int rows) {
  LookaheadGate gate({0, 16}, 2);
  std::mt19937 random(7);
  std::bernoulli_distribution hits(right);
  for (int i = 0; i < rows; ++i) {
    const std::int32_t guessed[] = {3, 5};
    const std::int32_t routed[] = {hits(random) ? 3 : 9, hits(random) ? 5 : 10};
    gate.observe(kLayer, guessed, routed);
  }
  return gate;
}

TEST(LookaheadGate, ModesHaveNames) {
  for (const char* word : {"off", "shadow", "auto", "always"}) {
    ASSERT_TRUE(lookahead_mode_named(word).has_value()) << word;
    EXPECT_STREQ(lookahead_mode_name(*lookahead_mode_named(word)), word);
  }
  EXPECT_FALSE(lookahead_mode_named("sometimes").has_value());
}

TEST(LookaheadGate, ChancesFollowWhatCameTrue) {
  for (const double right : {0.1, 0.5, 0.9}) {
    const LookaheadGate gate = trained(right, 3000);
    EXPECT_NEAR(gate.chance(kLayer, 0), right, 0.04);
    EXPECT_NEAR(gate.chance(kLayer, 1), right, 0.04);
    EXPECT_EQ(gate.stats(kLayer).guesses, 6000u);
  }
  EXPECT_DOUBLE_EQ(LookaheadGate({0, 16}, 2).chance(kLayer, 0), 0.5);
}

TEST(LookaheadGate, ChancesForget) {
  LookaheadGate gate({4}, 1);
  const std::int32_t one[] = {1};
  const std::int32_t two[] = {2};
  for (int i = 0; i < 5000; ++i) gate.observe(LayerId{0}, one, one);
  EXPECT_GT(gate.chance(LayerId{0}, 0), 0.99);
  for (int i = 0; i < 12'000; ++i) gate.observe(LayerId{0}, one, two);
  EXPECT_LT(gate.chance(LayerId{0}, 0), 0.15);
}

TEST(LookaheadGate, RowsThatAgreeMakeAGuessLikelier) {
  const LookaheadGate gate = trained(0.6, 3000);
  const double p = gate.chance(kLayer, 0);
  std::vector<Guess> guesses;
  const std::int32_t ids[] = {4, 7, 4, 8, 4, 7};  // three rows
  gate.guess(kLayer, ids, guesses);
  ASSERT_EQ(guesses.size(), 3u);
  EXPECT_EQ(guesses[0].expert, 4);
  EXPECT_NEAR(guesses[0].probability, 1 - (1 - p) * (1 - p) * (1 - p), 1e-12);
  EXPECT_EQ(guesses[1].expert, 7);
  EXPECT_EQ(guesses[2].expert, 8);
  EXPECT_NEAR(guesses[2].probability, gate.chance(kLayer, 1), 1e-12);
  std::vector<Guess> again;
  gate.guess(kLayer, ids, again);  // nothing is left over from the first time
  EXPECT_EQ(again[0].probability, guesses[0].probability);
}

TEST(LookaheadGate, ChancesAreOfGuessesThatAreNotInMemory) {
  LookaheadGate gate({4}, 2);
  const std::int32_t guessed[] = {0, 1};  // the first is always held and always wrong
  const std::int32_t routed[] = {2, 1};
  const std::uint8_t held[] = {1, 0};
  for (int i = 0; i < 1000; ++i) gate.observe(LayerId{0}, guessed, routed, held);
  EXPECT_GT(gate.chance(LayerId{0}, 1), 0.98);
  EXPECT_LT(gate.chance(LayerId{0}, 0), 0.02) << "by all guesses, since none was absent";
  const std::uint8_t other[] = {0, 1};
  const std::int32_t right[] = {0, 3};
  for (int i = 0; i < 100; ++i) gate.observe(LayerId{0}, guessed, right, other);
  EXPECT_GT(gate.chance(LayerId{0}, 0), 0.9) << "a hundred absent ones came true, whatever the thousand held ones did";
  EXPECT_GT(gate.chance(LayerId{0}, 1), 0.98) << "held ones do not count";
}

TEST(LookaheadGate, ABusyLinkOrALikelierVictimGainsNothing) {
  const LinkTimes busy{.load = 2e-3, .idle = 0.0, .layer = 10e-3};
  const LinkTimes free{.load = 2e-3, .idle = 5e-3, .layer = 10e-3};
  const LinkTimes half{.load = 2e-3, .idle = 1e-3, .layer = 10e-3};
  EXPECT_FALSE(LookaheadGate::gain(0.9, busy, 0.0));
  EXPECT_NEAR(*LookaheadGate::gain(0.5, free, 0.0), 1e-3, 1e-12);
  EXPECT_NEAR(*LookaheadGate::gain(0.5, free, 0.1), 1e-3 - 0.5 * 0.2e-3, 1e-12);
  EXPECT_FALSE(LookaheadGate::gain(0.5, free, 0.6));
  EXPECT_NEAR(*LookaheadGate::gain(0.8, half, 0.0), 0.8e-3 - 0.2e-3, 1e-12);
  EXPECT_FALSE(LookaheadGate::gain(0.4, half, 0.0));
}

TEST(LookaheadGate, OnABusyLinkAWellKnownGuessSavesTheRequest) {
  const LinkTimes busy{.load = 2e-3, .idle = 0.0, .layer = 10e-3};
  EXPECT_NEAR(*LookaheadGate::gain(0.98, busy, 0.1), 0.98 * 0.2e-3 - 0.02 * 2.2e-3, 1e-12);
  EXPECT_FALSE(LookaheadGate::gain(0.9, busy, 0.1));
  const LinkTimes slow_start{.load = 2e-3, .idle = 0.0, .layer = 10e-3, .start = 1e-3};
  EXPECT_NEAR(*LookaheadGate::gain(0.9, slow_start, 0.0), 0.9e-3 - 0.2e-3, 1e-12);
}

TEST(LookaheadGate, OnABusyLinkOnlyTheFirstGuessSavesTheRequest) {
  const LinkTimes busy{.load = 2e-3, .idle = 0.0, .layer = 10e-3, .start = 1e-3};
  EXPECT_TRUE(LookaheadGate::gain(0.9, busy, 0.0));
  EXPECT_FALSE(LookaheadGate::gain(0.99, busy.behind_a_guess(), 0.0));
  const LinkTimes idle{.load = 2e-3, .idle = 5e-3, .layer = 10e-3, .start = 1e-3};
  const LinkTimes third = idle.behind_a_guess().behind_a_guess();
  EXPECT_NEAR(third.idle, 1e-3, 1e-12) << "idle time is used up guess by guess";
  EXPECT_NEAR(*LookaheadGate::gain(0.8, third, 0.0), 0.8e-3 - 0.2e-3, 1e-12);
  EXPECT_FALSE(LookaheadGate::gain(0.99, third.behind_a_guess(), 0.0));
}

TEST(LookaheadGate, ALayerIsWatchedFirstAndMustGainThreePercent) {
  const LinkTimes times{.load = 2e-3, .idle = 5e-3, .layer = 10e-3};
  EXPECT_FALSE(trained(0.9, 7).worth(kLayer, 1e-3, times));
  const LookaheadGate gate = trained(0.9, 100);
  EXPECT_TRUE(gate.worth(kLayer, 0.31e-3, times));
  EXPECT_FALSE(gate.worth(kLayer, 0.29e-3, times));
}

}  // namespace
}  // namespace foregate
