// The rules of scheduler.h for ranked policies, one by one on hand-made views.
#include <gtest/gtest.h>

#include "engine/sched/scheduler.h"

namespace foregate {
namespace {

SeqView seq(std::uint64_t id, std::int32_t rank, std::int32_t tokens, std::int32_t computed, std::int32_t blocks,
            std::int32_t max_blocks = 8) {
  SeqView view;
  view.id = SeqId{id};
  view.rank = rank;
  view.tokens = tokens;
  view.computed = computed;
  view.blocks = blocks;
  view.max_blocks = max_blocks;
  return view;
}

struct Case {
  std::vector<SeqView> running;
  std::vector<SeqView> waiting;
  std::int32_t free_blocks = 100;
  SchedLimits limits;
  Case() {
    limits.max_num_seqs = 8;
    limits.max_num_batched_tokens = 64;
    limits.ranked = true;
  }
  std::string text() const {
    PlanInput input;
    input.running = running;
    input.waiting = waiting;
    input.free_blocks = free_blocks;
    input.block_size = 4;
    return plan_step(input, limits).to_string();
  }
};

TEST(Ranked, TheBestRunAndOthersKeepTheirBlocks) {
  Case c;
  c.limits.max_num_seqs = 2;
  c.running = {seq(1, 1, 5, 4, 2), seq(2, 2, 5, 4, 2)};
  c.waiting = {seq(3, 0, 6, 0, 0)};
  EXPECT_EQ(c.text(), "rows=7 seq1[4+1]s seq3[0+6]b2as") << "2 is not planned and not preempted";
}

TEST(Ranked, ABetterOneTakesTheBlocksOfTheWorst) {
  Case c;
  c.free_blocks = 1;
  c.running = {seq(1, 1, 4, 3, 1), seq(2, 2, 4, 3, 1), seq(3, 3, 8, 7, 2)};
  c.waiting = {seq(4, 0, 12, 0, 0)};  // three blocks
  EXPECT_EQ(c.text(), "rows=14 seq1[3+1]s seq2[3+1]s seq4[0+12]b3as preempt3");
  c.waiting[0].rank = 4;
  EXPECT_EQ(c.text(), "rows=3 seq1[3+1]s seq2[3+1]s seq3[7+1]s") << "a worse one takes nothing";
}

TEST(Ranked, NothingIsTakenWhereItWouldNotSuffice) {
  Case c;
  c.free_blocks = 0;
  c.running = {seq(1, 0, 4, 3, 1), seq(2, 3, 4, 3, 1)};
  c.waiting = {seq(3, 1, 12, 0, 0), seq(4, 2, 4, 0, 0)};
  EXPECT_EQ(c.text(), "rows=2 seq1[3+1]s seq2[3+1]s") << "3 does not fit, and 4 does not overtake it";
}

TEST(Ranked, GrowthTakesFromWorseOnesAndNeverFromBetterOnes) {
  Case c;
  c.free_blocks = 0;
  c.running = {seq(1, 0, 5, 4, 1), seq(2, 1, 4, 3, 1)};
  EXPECT_EQ(c.text(), "rows=1 seq1[4+1]b1s preempt2");
  c.running = {seq(1, 0, 4, 3, 1), seq(2, 1, 5, 4, 1)};
  EXPECT_EQ(c.text(), "rows=1 seq1[3+1]s") << "2 waits with what it holds";
}

TEST(Ranked, PausedOnesYieldFirstWhateverTheirRank) {
  Case c;
  c.free_blocks = 0;
  c.running = {seq(1, 0, 4, 3, 2), seq(2, 1, 5, 4, 1), seq(3, 2, 4, 3, 1)};
  c.running[0].paused = true;
  EXPECT_EQ(c.text(), "rows=2 seq2[4+1]b1s seq3[3+1]s preempt1");
}

TEST(Ranked, OncePreemptedNeedsRoomBesideBetterOnesOnly) {
  Case c;
  c.free_blocks = 7;
  c.running = {seq(1, 0, 4, 3, 1, 4), seq(2, 2, 4, 3, 1, 8)};
  c.waiting = {seq(3, 1, 4, 0, 0, 4)};
  c.waiting[0].was_preempted = true;
  EXPECT_EQ(c.text(), "rows=6 seq1[3+1]s seq2[3+1]s seq3[0+4]b1as") << "4 of its own and 3 that 1 may grow by";
  c.free_blocks = 6;
  EXPECT_EQ(c.text(), "rows=5 seq1[3+1]s seq3[0+4]b1as preempt2");
}

TEST(Ranked, EveryMemberOfTheStepGetsARow) {
  Case c;
  c.limits.max_num_batched_tokens = 3;
  c.waiting = {seq(1, 0, 30, 0, 0)};
  c.running = {seq(2, 1, 5, 4, 2), seq(3, 2, 5, 4, 2), seq(4, 3, 5, 4, 2)};
  EXPECT_EQ(c.text(), "rows=3 seq2[4+1]s seq3[4+1]s seq1[0+1]b8a") << "4 is the fourth best";
}

TEST(Ranked, DecodeRowsBoundThePromptRowsBesideThem) {
  for (bool ranked : {false, true}) {
    Case c;
    c.limits.ranked = ranked;
    c.limits.max_mixed_rows = 10;
    c.running = {seq(1, 0, 5, 4, 2), seq(2, 1, 5, 4, 2)};
    c.waiting = {seq(3, 2, 30, 0, 0), seq(4, 3, 30, 0, 0)};
    EXPECT_EQ(c.text(), "rows=10 seq1[4+1]s seq2[4+1]s seq3[0+8]b8a") << ranked;
    c.limits.max_mixed_rows = 1;
    EXPECT_EQ(c.text(), "rows=6 seq1[4+1]s seq2[4+1]s seq3[0+4]b8a") << "a block of it always runs";
    c.running.clear();
    EXPECT_EQ(c.text(), "rows=60 seq3[0+30]b8as seq4[0+30]b8as") << "no decode row, no bound";
  }
}

TEST(Ranked, WhatWasSavedComesBack) {
  for (bool ranked : {false, true}) {
    Case c;
    c.limits.ranked = ranked;
    c.waiting = {seq(1, 0, 10, 0, 0)};
    c.waiting[0].was_preempted = true;
    c.waiting[0].saved = 9;
    EXPECT_EQ(c.text(), "rows=1 seq1[9+1]r9b3as");
    c.waiting[0].saved = 7;
    EXPECT_EQ(c.text(), "rows=3 seq1[7+3]r7b3as");
  }
}

TEST(Ranked, ALongerPrefixIsBetterThanWhatWasSaved) {
  Case c;
  const std::vector<std::int32_t> refs(8, 0);
  const std::vector<BlockId> known = {{4}, {5}};
  SeqView waiting = seq(1, 0, 10, 0, 0);
  waiting.prefix.blocks = known;
  waiting.saved = 6;
  PlanInput input;
  input.waiting = {&waiting, 1};
  input.free_blocks = 8;
  input.block_size = 4;
  input.refs = refs;
  EXPECT_EQ(plan_step(input, c.limits).to_string(), "rows=2 seq1[8+2]p2b1as");
  waiting.saved = 9;
  EXPECT_EQ(plan_step(input, c.limits).to_string(), "rows=1 seq1[9+1]p2r9b1as") << "the rest of the copy";
}

}  // namespace
}  // namespace foregate
