// Trees of drafted tokens: what speculative_token_tree may say, their order, how far one stands, and what the
// controller keeps of one.
#include <gtest/gtest.h>

#include <optional>

#include "engine/spec/controller.h"
#include "engine/spec/ngram_drafter.h"
#include "engine/spec/spec_config.h"
#include "engine/spec/suffix_drafter.h"
#include "engine/spec/verify.h"

namespace foregate {
namespace {

using Numbers = std::vector<std::int32_t>;

Result<SpecConfig> with_tree(const std::string& tree, const std::string& more = "") {
  return parse_spec_config(R"({"method": "ngram", "speculative_token_tree": )" + tree + more + "}");
}

TEST(TokenTree, TakesWhatVllmTakes) {
  for (const char* tree :
       {R"("[(0,), (1,), (0,0), (0,1)]")", R"("[(0, 1), (0, 0), (1,), (0,)]")", "[[0], [1], [0, 0], [0, 1]]"}) {
    for (const char* more : {"", R"(, "num_speculative_tokens": 4)", R"(, "num_speculative_tokens": 2)"}) {
      const auto config = with_tree(tree, more);
      ASSERT_TRUE(config.ok()) << config.status().to_string();
      EXPECT_EQ(config->num_speculative_tokens, 2);
      ASSERT_EQ(config->tree.nodes.size(), 4u);
      EXPECT_EQ(config->tree.widths(), (Numbers{2, 2}));
      EXPECT_EQ(config->tree.children(0).first, 2);
      EXPECT_EQ(config->tree.children(0).end, 4);
      EXPECT_EQ(config->tree.children(1).first, config->tree.children(1).end);
    }
  }
  const auto chain = with_tree(R"("[(0,), (0,0), (0,0,0)]")");
  ASSERT_TRUE(chain.ok());
  EXPECT_TRUE(chain->tree.empty());
  EXPECT_EQ(chain->num_speculative_tokens, 3);
}

TEST(TokenTree, RefusesByName) {
  const auto refused = [](const std::string& tree, const char* named, const std::string& more = "") {
    const Status status = with_tree(tree, more).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << tree;
    EXPECT_NE(status.message().find("speculative_token_tree"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  };
  refused(R"("[(0,), (1,0)]")", "not (1,)");
  refused(R"("[(0,), (2,)]")", "not (1,)");
  refused(R"("[(0,), (0,)]")", "twice");
  refused("[[0], [-1]]", "numbers");
  refused("[[0], []]", "empty");
  refused("[]", "a node");
  refused(R"("")", "a list");
  refused(R"("[(0,), (0 0)]")", "a list");
  refused(R"("[(0,)] x")", "a list");
  refused("3", "string or an array");
  refused(R"("[(0,), (1,)]")", "num_speculative_tokens", R"(, "num_speculative_tokens": 3)");
  std::string wide = "[[0]", deep = "[[0]", way = "0";
  for (int i = 1; i < 65; ++i) wide += ", [" + std::to_string(i) + "]";
  for (int i = 1; i < 33; ++i) deep += ", [" + (way += ", 0") + "]";
  refused(wide + "]", "64 nodes");
  refused(deep + "]", "32 deep");
  refused('"' + std::string(20'000, ' ') + '"', "bytes");
  EXPECT_FALSE(parse_spec_config(R"({"method": "mtp", "speculative_token_tree": "[(0,), (1,)]"})").ok());
}

TEST(VerifyTree, GoesOnInTheChildThatWasChosen) {
  const std::vector<Token> draft = {5, 6, 7, 8, 9, 6};
  const Numbers parents = {-1, 0, 1, -1, 3, 3};
  const auto path = [&](std::vector<Token> chosen, Numbers rows) {
    Numbers found, asked;
    std::size_t next = 0;
    const std::size_t stand = verify_tree(draft, parents, found, [&](std::size_t row) -> std::optional<Token> {
      asked.push_back(static_cast<std::int32_t>(row));
      return next < chosen.size() ? std::optional(chosen[next++]) : std::nullopt;
    });
    EXPECT_EQ(stand, found.size());
    EXPECT_EQ(asked, rows);
    return found;
  };
  EXPECT_EQ(path({5, 6, 7, 1}, {0, 1, 2, 3}), (Numbers{0, 1, 2}));
  EXPECT_EQ(path({8, 6, 1}, {0, 4, 6}), (Numbers{3, 5}));
  EXPECT_EQ(path({8, 7}, {0, 4}), (Numbers{3}));
  EXPECT_EQ(path({6}, {0}), Numbers{});        // it is drafted elsewhere
  EXPECT_EQ(path({8}, {0, 4}), (Numbers{3}));  // the sample ended there
}

TEST(DraftTree, DepthFirstHasTheFirstBranchFirst) {
  const Numbers parents = {-1, -1, 0, 1, 0, 2};
  EXPECT_EQ(depth_first(Numbers{0, 1, 2, 3, 4, 5}, parents), (Numbers{0, 2, 5, 4, 1, 3}));
  EXPECT_EQ(depth_first(Numbers{1, 0, 3}, parents), (Numbers{1, 3, 0}));
  EXPECT_EQ(depths_of(parents), (Numbers{1, 1, 2, 2, 2, 3}));
  EXPECT_TRUE(is_chain(Numbers{-1, 0, 1}));
  EXPECT_FALSE(is_chain(parents));
}

// Where a row costs a fifth of a step, it keeps what stands often enough, and nothing when siblings never do.
TEST(DraftTree, TheControllerCutsToWhatGains) {
  DraftController controller(2, {2, 2});
  const Numbers parents = {-1, -1, 0, 0};
  const std::vector<float> sure = {0.8F, 0.15F, 0.75F, 0.1F};
  Numbers kept(4, 0);
  std::int32_t turns = 0;
  for (std::uint64_t turn = 0; turn < 3000; ++turn) {
    std::vector<DraftController::Candidate> candidates = {
        {.seq = SeqId{1}, .most = 4, .sure = sure, .parents = parents}};
    controller.choose(candidates, 1);
    const std::span<const std::int32_t> order = std::span(candidates[0].order);
    const auto depth = static_cast<std::size_t>(candidates[0].depth);
    controller.note_draft(0, 0.0);
    if (depth > 0) {
      Numbers path;
      const bool whole = depth >= 2 && order[1] == 2;
      if (turn % 5 != 0) path.push_back(0);
      if (whole && turn % 5 > 1) path.push_back(1);
      Numbers cut(depth, -1);
      std::vector<float> held;
      for (std::size_t i = 0; i < depth; ++i) {
        held.push_back(sure[static_cast<std::size_t>(order[i])]);
        if (order[i] >= 2) cut[i] = 0;
        if (turn > 2000) ++kept[static_cast<std::size_t>(order[i])];
      }
      turns += turn > 2000 ? 1 : 0;
      controller.note_tree_verdict(SeqId{1}, cut, path, held);
    }
    controller.note_step(1 + candidates[0].depth, 1.0 + 0.25 * candidates[0].depth);
  }
  EXPECT_GT(turns, 500);
  EXPECT_GT(kept[0], turns * 9 / 10);
  EXPECT_GT(kept[2], turns * 9 / 10);
  EXPECT_LT(kept[1] + kept[3], turns / 10);
}

TEST(DraftTree, SuffixesGiveWhatFollowedMostOften) {
  SuffixDrafter drafter(SuffixOptions{.max_spec_factor = 8, .min_token_prob = 0.0});
  const auto config = with_tree(R"("[(0,), (1,), (0,0), (0,1)]")");
  ASSERT_TRUE(config.ok());
  const std::vector<Token> tokens = {1, 2, 5, 1, 2, 5, 1, 2, 6, 1, 2};
  DraftAsk ask;
  ask.tokens = tokens;
  ask.most = 2;
  ask.tree = &config->tree;
  Draft draft;
  drafter.propose({&ask, 1}, {&draft, 1});
  ASSERT_GE(draft.tokens.size(), 3u);
  EXPECT_EQ(draft.parents.size(), draft.tokens.size());
  EXPECT_EQ(draft.parents[0], -1);
  Draft found;
  NgramDrafter(1, 2).propose({&ask, 1}, {&found, 1});
  EXPECT_EQ(found.tokens, (std::vector<Token>{6, 1, 5}));
  EXPECT_EQ(found.parents, (Numbers{-1, 0, -1}));
}

}  // namespace
}  // namespace foregate
