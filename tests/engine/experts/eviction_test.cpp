// The policies as such: what each keeps, that only the score stands below one token cycle of slots, and that it pays
// nowhere else for that.
#include "engine/experts/eviction.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/experts/future_uses.h"
#include "tests/engine/experts/made_uses.h"
#include "tests/engine/experts/slow_tier.h"

namespace foregate {
namespace {

EvictionOptions options_of(const MadeRouting& routing) {
  EvictionOptions options;
  options.experts.assign(static_cast<std::size_t>(routing.layers), routing.experts);
  options.top_k = routing.top_k;
  return options;
}

std::unique_ptr<EvictionPolicy> policy_of(std::string_view name, const EvictionOptions& options) {
  auto policy = make_eviction_policy(name, options);
  EXPECT_TRUE(policy.ok()) << policy.status().to_string();
  return std::move(policy).value();
}

// Share of uses that hit, the first quarter not counted.
double hit_rate(std::string_view name, const MadeRouting& routing, std::size_t slots) {
  const std::vector<MadeUse> uses = made_uses(routing);
  FutureUses future;
  for (const MadeUse& use : uses) future.add(LayerId{use.layer}, use.experts);
  EvictionOptions options = options_of(routing);
  options.future = &future;
  options.slots = slots;
  const auto policy = policy_of(name, options);
  SlowTier tier{*policy, slots};
  for (std::size_t i = 0; i < uses.size(); ++i) {
    if (i == uses.size() / 4) tier.hits = tier.misses = 0;
    tier.use(uses[i].use());
  }
  return static_cast<double>(tier.hits) / static_cast<double>(tier.hits + tier.misses);
}

void use_once(EvictionPolicy& policy, std::int32_t layer, std::vector<std::int32_t> experts,
              UsePhase phase = UsePhase::kDecode, std::int32_t rows = 1) {
  const std::vector<std::int32_t> counts(experts.size(), rows);
  policy.used({0, LayerId{layer}, phase, experts, counts});
}

ExpertKey key(std::int32_t layer, std::int32_t expert) {
  return {LayerId{layer}, ExpertId{expert}};
}

TEST(CountedUse, LeavesOutTheRowsOfDrafts) {
  CountedUse counted;
  const std::vector<std::int32_t> experts = {1, 4, 6, 9};
  const std::vector<std::int32_t> rows = {3, 2, 5, 1};
  const std::vector<std::int32_t> decoded = {2, 2, 1, 0};
  const std::vector<std::int32_t> drafted = {1, 2, 1, 0};
  LayerUse use{.step = 3, .layer = LayerId{2}, .experts = experts, .rows = rows};
  EXPECT_EQ(counted.of(use).experts.data(), experts.data()) << "no drafts: as it is";
  use.phase = UsePhase::kPrefill;
  use.decode_rows = decoded;
  use.drafted_rows = drafted;
  const LayerUse told = counted.of(use);
  EXPECT_EQ(std::vector<std::int32_t>(told.experts.begin(), told.experts.end()), (std::vector<std::int32_t>{1, 6, 9}));
  EXPECT_EQ(std::vector<std::int32_t>(told.rows.begin(), told.rows.end()), (std::vector<std::int32_t>{2, 4, 1}));
  EXPECT_EQ(std::vector<std::int32_t>(told.decode_rows.begin(), told.decode_rows.end()),
            (std::vector<std::int32_t>{1, 0, 0}));
  EXPECT_TRUE(told.drafted_rows.empty());
  EXPECT_EQ(told.phase, UsePhase::kPrefill);
  EXPECT_EQ(told.layer, use.layer);
}

TEST(Eviction, LruKeepsWhatWasUsedLast) {
  const auto policy = policy_of("lru", {.experts = {4, 4}, .top_k = 1});
  use_once(*policy, 0, {1});
  use_once(*policy, 1, {2});
  EXPECT_LT(policy->keep_value(key(0, 0)), policy->keep_value(key(0, 1)));
  EXPECT_LT(policy->keep_value(key(0, 1)), policy->keep_value(key(1, 2)));
  use_once(*policy, 0, {1});
  EXPECT_GT(policy->keep_value(key(0, 1)), policy->keep_value(key(1, 2)));
}

TEST(Eviction, LfuKeepsWhatWasUsedMost) {
  const auto policy = policy_of("lfu", {.experts = {4, 4}, .top_k = 1});
  use_once(*policy, 0, {1});
  use_once(*policy, 0, {1});
  use_once(*policy, 1, {2});
  EXPECT_GT(policy->keep_value(key(0, 1)), policy->keep_value(key(1, 2)));
  EXPECT_GT(policy->keep_value(key(1, 2)), policy->keep_value(key(1, 3)));
}

// Experts that every token uses: the tier can hold three layers of eight. LRU always drops what comes next.
TEST(Eviction, OnlyTheScoreStandsBelowOneTokenCycleWhenTokensRepeat) {
  const MadeRouting repeating{.layers = 8, .experts = 32, .top_k = 4, .tokens = 200, .sticky = 1};
  const std::size_t slots = 12;
  EXPECT_EQ(hit_rate("lru", repeating, slots), 0);
  EXPECT_GT(hit_rate("score", repeating, slots), 0.22);  // (12 - 4) / 32 is what one layer at a time leaves
  EXPECT_LE(hit_rate("score", repeating, slots), hit_rate("belady", repeating, slots));
}

// A cycle is 128 slots of 1024 experts. Without memory or skew no policy can hit more than slots / experts.
TEST(Eviction, OnlyTheScoreStandsBelowOneTokenCycleWhenRoutingIsUniform) {
  const MadeRouting uniform{.layers = 16, .experts = 64, .top_k = 8, .tokens = 400};
  for (const std::size_t slots : {32, 96}) {
    EXPECT_EQ(hit_rate("lru", uniform, slots), 0) << slots;
    EXPECT_GT(hit_rate("score", uniform, slots), 0.7 * static_cast<double>(slots) / 1024) << slots;
  }
}

TEST(Eviction, OnlyTheScoreStandsBelowOneTokenCycleWhenRoutingIsSkewed) {
  for (const double sticky : {0.0, 0.4}) {
    const MadeRouting skewed{.layers = 16, .experts = 64, .top_k = 8, .tokens = 400, .skew = 1, .sticky = sticky};
    for (const std::size_t slots : {32, 96}) {
      const double bound = hit_rate("belady", skewed, slots);
      EXPECT_LT(hit_rate("lru", skewed, slots), 0.01) << slots << " sticky " << sticky;
      EXPECT_GT(hit_rate("score", skewed, slots), 0.5 * bound) << slots << " sticky " << sticky;
    }
  }
}

// All but equal, that is: it forgets on purpose, which costs up to two points where nothing ever changes.
TEST(Eviction, TheScoreIsAsGoodAsTheBetterOfRecencyAndFrequencyAboveIt) {
  for (const double skew : {0.0, 0.7, 1.2}) {
    for (const double sticky : {0.0, 0.5}) {
      const MadeRouting routing{.layers = 8, .experts = 64, .top_k = 6, .tokens = 400, .skew = skew, .sticky = sticky};
      for (const std::size_t slots : {96, 200}) {
        const double better = std::max(hit_rate("lru", routing, slots), hit_rate("lfu", routing, slots));
        const double score = hit_rate("score", routing, slots);
        EXPECT_GT(score, better - 0.025) << "skew " << skew << " sticky " << sticky << " slots " << slots;
        EXPECT_LE(score, hit_rate("belady", routing, slots));
      }
    }
  }
}

TEST(Eviction, APromptFeedsTheFrequencyAndNotTheRecency) {
  const EvictionOptions options{.experts = {8}, .top_k = 2};
  const auto before = policy_of("score", options);
  for (int i = 0; i < 400; ++i) use_once(*before, 0, i % 40 < 20 ? std::vector{0, 1} : std::vector{2, 3});
  const UseCounters decoded = before->counters();
  const auto policy = policy_of("score", options);
  for (int i = 0; i < 400; ++i) use_once(*policy, 0, i % 40 < 20 ? std::vector{0, 1} : std::vector{2, 3});
  use_once(*policy, 0, {4, 5}, UsePhase::kPrefill, 100);
  // 4 and 5 are now known to be used by every token of late; 2 and 3 are what the last decode step used.
  EXPECT_GT(policy->keep_value(key(0, 4)), policy->keep_value(key(0, 0)));
  EXPECT_GT(policy->keep_value(key(0, 2)), policy->keep_value(key(0, 0)));
  const UseCounters warmed = policy->counters();
  EXPECT_GT(warmed.rates[0][4], 0.6F);
  EXPECT_LT(warmed.rates[0][2], decoded.rates[0][2]);
  // A prompt is no decode step: an expert it used alone has no age, one step later it has not grown older.
  use_once(*policy, 0, {2, 3});
  EXPECT_GT(policy->keep_value(key(0, 2)), policy->keep_value(key(0, 0)));
}

// Rows that decode beside a prompt count as in a step of their own, for every policy that tells them apart.
TEST(Eviction, AStepOfBothIsADecodeStepAndAPrompt) {
  const EvictionOptions options{.experts = {16}, .top_k = 2};
  const auto both = policy_of("score", options);
  const auto apart = policy_of("score", options);
  const auto prompt = policy_of("score", options);
  for (std::int32_t i = 0; i < 200; ++i) {
    const std::int32_t at = i % 3 == 0 ? 4 : 2 * (i % 8);  // one pair comes back all the time
    MadeUse all{.phase = UsePhase::kPrefill, .experts = {}, .rows = {}};
    for (std::int32_t e = 0; e < 16; ++e) {
      const std::int32_t decoding = e == at || e == at + 1 ? 1 : 0;
      all.experts.push_back(e);
      all.rows.push_back(e % 3 + 1 + decoding);
      all.decode_rows.push_back(decoding);
    }
    MadeUse rest = all;
    for (std::size_t e = 0; e < 16; ++e) rest.rows[e] -= rest.decode_rows[e];
    rest.decode_rows.clear();
    both->used(all.use());
    use_once(*apart, 0, {at, at + 1});
    apart->used(rest.use());
    all.decode_rows.clear();
    prompt->used(all.use());
    for (std::int32_t e = 0; e < 16; ++e) {
      ASSERT_EQ(both->keep_value(key(0, e)), apart->keep_value(key(0, e))) << i << " " << e;
    }
  }
  EXPECT_NE(both->keep_value(key(0, 4)), prompt->keep_value(key(0, 4))) << "else it learns nothing of them";
}

// A server that always has a prompt to run beside its replies: what the replies use stays.
TEST(Eviction, PromptsBesideThemDoNotTakeTheRulesFromDecodeRows) {
  const MadeRouting routing{.layers = 4, .experts = 32, .top_k = 2, .tokens = 400, .sticky = 0.7};
  const std::vector<MadeUse> decoded = made_uses(routing);
  const auto decode_hits = [&](bool told) {
    const auto policy = policy_of("score", options_of(routing));
    SlowTier tier{*policy, 24};
    std::int64_t hits = 0;
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const auto& row = decoded[i].experts;
      MadeUse use{
          .step = decoded[i].step, .layer = decoded[i].layer, .phase = UsePhase::kPrefill, .experts = {}, .rows = {}};
      for (std::int32_t e = 0; e < 32; ++e) {
        const bool of_row = std::find(row.begin(), row.end(), e) != row.end();
        if (!of_row && (e + decoded[i].step) % 8 != 0) continue;  // the prompt's own
        use.experts.push_back(e);
        use.rows.push_back(1);
        if (told) use.decode_rows.push_back(of_row ? 1 : 0);
        hits += of_row && tier.resident.count(key(use.layer, e)) == 1 ? 1 : 0;
      }
      tier.use(use.use());
    }
    return hits;
  };
  EXPECT_GT(decode_hits(true), decode_hits(false) * 5 / 4);
}

TEST(Eviction, HalfLifeIsInTokensOfTheLayer) {
  const auto policy = policy_of("score", {.experts = {2, 2}, .top_k = 1, .half_life_tokens = 16});
  for (int i = 0; i < 100; ++i) use_once(*policy, 0, {0});
  const float full = policy->counters().rates[0][0];
  for (int i = 0; i < 16; ++i) use_once(*policy, 0, {1});
  EXPECT_NEAR(policy->counters().rates[0][0], full / 2, 1e-4);
  for (int i = 0; i < 1000; ++i) use_once(*policy, 1, {1});  // another layer's tokens are not its own
  EXPECT_NEAR(policy->counters().rates[0][0], full / 2, 1e-4);
  EXPECT_NEAR(full, 1, 0.02);
}

TEST(Eviction, TheScoreLivesThroughAMillionTokens) {
  const auto policy = policy_of("score", {.experts = {4}, .top_k = 1, .half_life_tokens = 8});
  for (int i = 0; i < 1'000'000; ++i) use_once(*policy, 0, {i % 4 == 0 ? 0 : 1});
  EXPECT_NEAR(policy->counters().rates[0][1], 0.75, 0.1);
  EXPECT_TRUE(std::isfinite(policy->keep_value(key(0, 0))));
}

TEST(Eviction, EqualCallsGiveEqualAnswers) {
  const MadeRouting routing{.tokens = 60, .skew = 1, .sticky = 0.3};
  for (const std::string_view name : {"lru", "lfu", "score", "auto"}) {
    EvictionOptions options = options_of(routing);
    options.slots = 64;
    const auto one = policy_of(name, options);
    const auto two = policy_of(name, options);
    for (const MadeUse& use : made_uses(routing)) {
      one->used(use.use());
      two->used(use.use());
      ASSERT_EQ(one->keep_value(key(use.layer, 3)), two->keep_value(key(use.layer, 3)));
    }
    EXPECT_EQ(one->name(), name);
  }
}

TEST(Eviction, CountersCarryOverToTheNextRun) {
  const MadeRouting routing{.layers = 4, .experts = 16, .top_k = 2, .tokens = 300, .skew = 1};
  EvictionOptions options = options_of(routing);
  const auto first = policy_of("score", options);
  for (const MadeUse& use : made_uses(routing)) first->used(use.use());
  const UseCounters kept = first->counters();
  options.counters = &kept;
  const auto second = policy_of("score", options);
  const UseCounters again = second->counters();
  ASSERT_EQ(again.rates.size(), 4U);
  for (std::size_t layer = 0; layer < 4; ++layer) {
    for (std::size_t e = 0; e < 16; ++e) EXPECT_NEAR(again.rates[layer][e], kept.rates[layer][e], 1e-6);
  }
  // What was used a lot is worth more from the start.
  const auto& rates = kept.rates[2];
  const auto most = static_cast<std::int32_t>(std::max_element(rates.begin(), rates.end()) - rates.begin());
  const auto least = static_cast<std::int32_t>(std::min_element(rates.begin(), rates.end()) - rates.begin());
  EXPECT_GT(second->keep_value(key(2, most)), second->keep_value(key(2, least)));
}

TEST(Eviction, RefusesWhatItCannotDo) {
  const auto code = [](std::string_view name, const EvictionOptions& options) {
    return make_eviction_policy(name, options).status().code();
  };
  EXPECT_EQ(code("fifo", {.experts = {4}}), Code::kInvalidArgument);
  EXPECT_EQ(code("belady", {.experts = {4}}), Code::kInvalidArgument);
  EXPECT_EQ(code("score", {.experts = {-1}}), Code::kInvalidArgument);
  EXPECT_EQ(code("score", {.experts = {4}, .top_k = 0}), Code::kInvalidArgument);
  EXPECT_EQ(code("auto", {.experts = {4}, .expert_bytes = {1, 2}}), Code::kInvalidArgument);
  EXPECT_EQ(code("score", {.experts = {4}, .half_life_tokens = NAN}), Code::kInvalidArgument);
  const UseCounters other{.rates = {{0, 0, 0}}};
  EXPECT_EQ(code("score", {.experts = {4}, .counters = &other}), Code::kInvalidArgument);
  for (const std::string_view name : eviction_policy_names()) {
    const FutureUses future;
    EXPECT_EQ(code(name, {.experts = {4, 0}, .future = &future}), Code::kOk) << name;
  }
}

}  // namespace
}  // namespace foregate
