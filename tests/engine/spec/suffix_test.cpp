// Suffix decoding: lookups against a search of the whole text, drafts by majority, earlier answers and their bounds.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/base/rng.h"
#include "engine/spec/suffix_drafter.h"

namespace foregate {
namespace {

using Tokens = std::vector<Token>;

std::vector<DraftAsk> ask(std::uint64_t seq, const Tokens& text, std::int32_t prompt, std::int32_t most) {
  return {{SeqId{seq}, RequestId{seq}, 0, text, prompt, most, 0.0}};
}

Draft draft_of(SuffixDrafter& drafter, std::uint64_t seq, const Tokens& text, std::int32_t prompt, std::int32_t most) {
  std::vector<Draft> drafts(1);
  drafter.propose(ask(seq, text, prompt, most), drafts);
  EXPECT_EQ(drafts[0].tokens.size(), drafts[0].sure.size());
  for (const float sure : drafts[0].sure) EXPECT_TRUE(sure > 0.0F && sure < 1.0F);
  return drafts[0];
}

// Every place before the end, and how many tokens before it equal the last ones.
std::vector<SuffixIndex::Place> all_places(const Tokens& text, std::uint64_t from, std::size_t longest) {
  std::vector<SuffixIndex::Place> places;
  for (std::size_t next = text.size() - 1; next >= from + SuffixIndex::kLeast; --next) {
    std::size_t length = 0;
    while (length < longest && from + length < next && text[next - 1 - length] == text[text.size() - 1 - length])
      ++length;
    if (length >= SuffixIndex::kLeast) places.push_back({next, length});
  }
  return places;
}

class IndexSizes : public ::testing::TestWithParam<std::size_t> {};
TEST_P(IndexSizes, FindsTheLatestPlaces) {
  const std::size_t capacity = GetParam();
  std::size_t found = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SuffixIndex index(capacity);
    Tokens text;
    for (std::uint64_t i = 0; i < 400; ++i) {
      text.push_back(static_cast<Token>(uniform01(seed, 1, i) * 6));
      index.append(text.back());
      if (text.size() < 2) continue;
      const std::uint64_t kept = capacity == 0 ? text.size() : std::min(capacity, text.size());
      const auto places = index.find(text, 8);
      const auto expected = all_places(text, text.size() - kept, 8);
      const std::size_t same = std::min(expected.size(), SuffixIndex::kMostPlaces);
      // What was overwritten may break a chain early; what is found is right and the latest.
      ASSERT_LE(places.size(), SuffixIndex::kMostPlaces);
      if (capacity == 0) {
        ASSERT_EQ(places.size(), same);
      }
      for (std::size_t k = 0; k < places.size(); ++k) {
        ASSERT_EQ(places[k].next, expected[k].next);
        ASSERT_EQ(places[k].length, expected[k].length);
      }
      found += places.size();
    }
  }
  EXPECT_GT(found, 10000u);
}
INSTANTIATE_TEST_SUITE_P(SuffixIndex, IndexSizes, ::testing::Values(0, 64, 256));

TEST(SuffixDrafter, GoesOnByMajority) {
  SuffixDrafter drafter({.max_cached_requests = 0});
  // After 1 2 came 3 twice and 9 once, the 9 latest.
  const Tokens text = {1, 2, 3, 4, 0, 1, 2, 3, 5, 0, 7, 1, 2, 9, 6, 8, 1, 2};
  EXPECT_EQ(draft_of(drafter, 1, text, 4, 1).tokens, (Tokens{3}));
  // A longer match outweighs: 8 8 1 2 was followed by 9 9.
  const Tokens longer = {1, 2, 3, 1, 2, 3, 8, 8, 8, 8, 1, 2, 9, 9, 5, 8, 8, 8, 8, 1, 2};
  EXPECT_EQ(draft_of(drafter, 2, longer, 4, 2).tokens, (Tokens{9, 9}));
}

TEST(SuffixDrafter, ARepetitionGoesOnPastTheEnd) {
  SuffixDrafter drafter({.max_spec_factor = 4.0});
  EXPECT_EQ(draft_of(drafter, 1, {4, 1, 2, 3, 1, 2, 3}, 1, 7).tokens, (Tokens{1, 2, 3, 1, 2, 3, 1}));
}

TEST(SuffixDrafter, LengthAndProbabilityAreBounded) {
  const Tokens text = {1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2};
  SuffixDrafter factor({.max_spec_factor = 1.5});
  EXPECT_EQ(draft_of(factor, 1, text, 1, 9).tokens, (Tokens{3, 4, 5}));
  SuffixDrafter depth({.max_tree_depth = 2, .max_spec_factor = 10.0});
  EXPECT_EQ(draft_of(depth, 1, text, 1, 9).tokens, (Tokens{3, 4}));
  SuffixDrafter whole({.max_spec_factor = 10.0});
  EXPECT_EQ(draft_of(whole, 1, text, 1, 4).tokens, (Tokens{3, 4, 5, 6}));
  const Tokens split = {7, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2};
  SuffixDrafter sure({.min_token_prob = 0.6});
  EXPECT_TRUE(draft_of(sure, 1, split, 1, 4).tokens.empty());  // 3 and 4 came as often
  SuffixDrafter none({});
  EXPECT_TRUE(draft_of(none, 1, {1}, 1, 4).tokens.empty());
  EXPECT_TRUE(draft_of(none, 1, {1, 2}, 1, 4).tokens.empty());
}

TEST(SuffixDrafter, LearnsFromEarlierAnswersAndNotFromPrompts) {
  SuffixDrafter drafter({.max_cached_requests = 2, .max_spec_factor = 4.0});
  EXPECT_TRUE(draft_of(drafter, 1, {50, 51, 52, 60, 61, 62, 63}, 3, 4).tokens.empty());
  drafter.forget(SeqId{1});
  EXPECT_EQ(drafter.cached_answers(), 1u);
  EXPECT_EQ(draft_of(drafter, 2, {9, 60, 61}, 3, 4).tokens, (Tokens{62, 63}));
  EXPECT_TRUE(draft_of(drafter, 3, {9, 50, 51}, 3, 4).tokens.empty());  // of the prompt
  // An answer ends where it ended: nothing of the next is drafted after it.
  draft_of(drafter, 4, {9, 62, 63, 70, 71}, 3, 4);
  drafter.forget(SeqId{4});
  EXPECT_EQ(draft_of(drafter, 5, {9, 61, 62}, 3, 4).tokens, (Tokens{63}));
  // The third makes the first be forgotten.
  draft_of(drafter, 6, {9, 80, 81}, 1, 4);
  drafter.forget(SeqId{6});
  EXPECT_EQ(drafter.cached_answers(), 2u);
  EXPECT_TRUE(draft_of(drafter, 7, {9, 60, 61}, 3, 4).tokens.empty());
}

TEST(SuffixDrafter, MemoryStaysBounded) {
  SuffixDrafter drafter({.max_cached_tokens = 256});
  const std::size_t before = drafter.bytes();
  for (std::uint64_t seq = 1; seq <= 200; ++seq) {
    Tokens text;
    for (std::uint64_t i = 0; i < 40; ++i) text.push_back(static_cast<Token>(uniform01(seq, 2, i) * 5));
    draft_of(drafter, seq, text, 3, 4);
    drafter.forget(SeqId{seq});
    drafter.forget(SeqId{seq});
  }
  EXPECT_EQ(drafter.bytes(), before);
}

}  // namespace
}  // namespace foregate
