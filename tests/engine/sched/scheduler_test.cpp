// The rules of scheduler.h one by one on hand-made views.
#include "engine/sched/scheduler.h"

#include <gtest/gtest.h>

namespace foregate {
namespace {

SeqView seq(std::uint64_t id, std::int32_t tokens, std::int32_t computed, std::int32_t blocks,
            std::int32_t max_blocks = 8) {
  SeqView view;
  view.id = SeqId{id};
  view.tokens = tokens;
  view.computed = computed;
  view.blocks = blocks;
  view.max_blocks = max_blocks;
  return view;
}

SeqView paused(SeqView view) {
  view.paused = true;
  return view;
}

SeqView preempted(SeqView view) {
  view.was_preempted = true;
  return view;
}

struct Case {
  std::vector<SeqView> running;
  std::vector<SeqView> waiting;
  std::int32_t free_blocks = 100;
  std::int32_t block_size = 4;
  SchedLimits limits = {8, 64, 0};
  BatchPlan plan() const {
    PlanInput input;
    input.running = running;
    input.waiting = waiting;
    input.free_blocks = free_blocks;
    input.block_size = block_size;
    return plan_step(input, limits);
  }
  std::string text() const { return plan().to_string(); }
};

TEST(Scheduler, NothingToDoIsAnEmptyPlan) {
  EXPECT_TRUE(Case().plan().empty());
  Case all_paused;
  all_paused.running = {paused(seq(1, 5, 4, 1))};
  all_paused.waiting = {paused(seq(2, 5, 0, 0))};
  EXPECT_TRUE(all_paused.plan().empty());
  EXPECT_TRUE(all_paused.plan().preempted.empty());
}

TEST(Scheduler, DecodeRowsThenChunksThenAdmission) {
  Case c;
  c.running = {seq(1, 30, 10, 8), seq(2, 9, 8, 2)};
  c.waiting = {seq(3, 6, 0, 0), seq(4, 40, 0, 0)};
  EXPECT_EQ(c.text(), "rows=64 seq2[8+1]b1s seq1[10+20]s seq3[0+6]b2as seq4[0+37]b10a");
}

TEST(Scheduler, AdmissionIsByArrivalAndNobodyOvertakes) {
  Case c;
  c.free_blocks = 3;
  c.waiting = {seq(1, 20, 0, 0), seq(2, 4, 0, 0)};  // 1 needs five blocks
  EXPECT_TRUE(c.plan().empty());
  c.waiting[0].paused = true;  // a paused one is passed over
  EXPECT_EQ(c.text(), "rows=4 seq2[0+4]b1as");
}

TEST(Scheduler, BudgetAndWidthBoundAStep) {
  Case c;
  c.limits = {2, 10, 0};
  c.waiting = {seq(1, 6, 0, 0), seq(2, 30, 0, 0), seq(3, 2, 0, 0)};
  EXPECT_EQ(c.text(), "rows=10 seq1[0+6]b2as seq2[0+4]b8a");
  c.limits = {2, 64, 0};
  EXPECT_EQ(c.plan().entries.size(), 2u);
  c.running = {seq(10, 5, 4, 2), seq(11, 5, 4, 2)};
  EXPECT_EQ(c.text(), "rows=2 seq10[4+1]s seq11[4+1]s") << "running sequences fill the width";
}

TEST(Scheduler, ChunksRespectTheirOwnBound) {
  Case c;
  c.limits.max_prefill_chunk = 5;
  c.waiting = {seq(1, 12, 0, 0)};
  EXPECT_EQ(c.text(), "rows=5 seq1[0+5]b3a");
  EXPECT_TRUE(c.plan().entries[0].partial);
  c.limits.max_prefill_chunk = 0;
  c.waiting[0].max_chunk = 3;
  EXPECT_EQ(c.text(), "rows=3 seq1[0+3]b3a");
  c.waiting[0].max_chunk = 100;
  EXPECT_EQ(c.text(), "rows=12 seq1[0+12]b3as");
  EXPECT_FALSE(c.plan().entries[0].partial);
}

TEST(Scheduler, TheLatestArrivedIsPreempted) {
  Case c;
  c.free_blocks = 0;
  c.running = {seq(1, 5, 4, 1), seq(2, 3, 2, 1), seq(3, 6, 5, 2)};
  c.waiting = {seq(4, 2, 0, 0)};
  // 1 needs a block; 3 came last and gives two; nobody is admitted in such a step.
  EXPECT_EQ(c.text(), "rows=2 seq1[4+1]b1s seq2[2+1]s preempt3");
}

TEST(Scheduler, TheLastInLineYieldsItself) {
  Case c;
  c.free_blocks = 0;
  c.running = {seq(1, 4, 3, 1), seq(2, 5, 4, 1)};
  EXPECT_EQ(c.text(), "rows=1 seq1[3+1]s preempt2");
}

TEST(Scheduler, PausedSequencesYieldFirst) {
  Case c;
  c.free_blocks = 0;
  c.running = {paused(seq(1, 9, 8, 3)), seq(2, 5, 4, 1), seq(3, 3, 2, 1)};
  EXPECT_EQ(c.text(), "rows=2 seq2[4+1]b1s seq3[2+1]s preempt1");
}

TEST(Scheduler, OncePreemptedWaitsForRoomToFinish) {
  Case c;
  c.free_blocks = 9;
  c.running = {seq(1, 5, 4, 2, 4)};  // may take two more
  c.waiting = {preempted(seq(2, 5, 0, 0, 8)), seq(3, 1, 0, 0)};
  EXPECT_EQ(c.text(), "rows=1 seq1[4+1]s") << "8 + 2 blocks are not free";
  c.free_blocks = 10;
  EXPECT_EQ(c.text(), "rows=7 seq1[4+1]s seq2[0+5]b2as seq3[0+1]b1as");
}

TEST(Scheduler, PausedHoldersGiveWayWhenNothingElseCanRun) {
  Case c;
  c.free_blocks = 1;
  c.running = {paused(seq(1, 9, 8, 3)), paused(seq(2, 9, 8, 3))};
  c.waiting = {seq(3, 14, 0, 0)};  // four blocks
  EXPECT_EQ(c.text(), "rows=14 seq3[0+14]b4as preempt2");
  c.waiting = {paused(seq(3, 14, 0, 0))};
  EXPECT_TRUE(c.plan().preempted.empty());
}

// Eight blocks: sequence 1 holds 0 to 2, sequence 2 holds 0, 1 and 3, nobody holds 4 to 7, of which 4 and 5 are known.
struct Shared : Case {
  std::vector<std::int32_t> refs = {2, 2, 1, 1, 0, 0, 0, 0};
  std::vector<BlockId> first = {{0}, {1}, {2}};
  std::vector<BlockId> second = {{0}, {1}, {3}};
  std::vector<BlockId> known = {{4}, {5}};
  Shared() {
    running = {seq(1, 12, 11, 3), seq(2, 12, 11, 3)};
    running[0].table = first;
    running[1].table = second;
    free_blocks = 4;
  }
  std::string text() const {
    PlanInput input;
    input.running = running;
    input.waiting = waiting;
    input.free_blocks = free_blocks;
    input.block_size = block_size;
    input.refs = refs;
    return plan_step(input, limits).to_string();
  }
};

TEST(Scheduler, BlocksThatSomebodyHoldsCostNothing) {
  Shared c;
  c.waiting = {seq(3, 22, 0, 0)};  // six blocks, four are free
  EXPECT_EQ(c.text(), "rows=2 seq1[11+1]s seq2[11+1]s");
  const std::vector<BlockId> prefix = {{0}, {1}};
  c.waiting[0].prefix.blocks = prefix;
  EXPECT_EQ(c.text(), "rows=16 seq1[11+1]s seq2[11+1]s seq3[8+14]p2b4as");
  c.waiting[0].prefix.blocks = c.known;  // nobody holds them: they come out of the free ones
  EXPECT_EQ(c.text(), "rows=2 seq1[11+1]s seq2[11+1]s");
  c.waiting = {seq(3, 13, 0, 0), seq(4, 13, 0, 0)};
  for (SeqView& view : c.waiting) view.prefix.blocks = c.known;
  EXPECT_EQ(c.text(), "rows=7 seq1[11+1]s seq2[11+1]s seq3[8+5]p2b2as") << "4 needs two more blocks of its own";
  c.waiting[1].tokens = 12;
  c.waiting[0].tokens = 12;
  EXPECT_EQ(c.text(), "rows=10 seq1[11+1]s seq2[11+1]s seq3[8+4]p2b1as seq4[8+4]p2b1as") << "taken once";
}

TEST(Scheduler, ATailIsCopiedWhereThereIsRoomForBoth) {
  Shared c;
  c.waiting = {seq(3, 8, 0, 0)};
  c.waiting[0].prefix.tail = BlockId{4};
  c.waiting[0].prefix.tail_tokens = 3;
  EXPECT_EQ(c.text(), "rows=7 seq1[11+1]s seq2[11+1]s seq3[3+5]cb2as");
  c.free_blocks = 2;  // the copy would be in the way of its source
  EXPECT_EQ(c.text(), "rows=10 seq1[11+1]s seq2[11+1]s seq3[0+8]b2as");
  c.waiting[0].prefix.tail = BlockId{3};  // held by another: it costs nothing
  EXPECT_EQ(c.text(), "rows=7 seq1[11+1]s seq2[11+1]s seq3[3+5]cb2as");
}

TEST(Scheduler, ATailGoesWithItsHolder) {
  Shared c;
  c.running = {paused(c.running[0]), paused(c.running[1])};
  c.waiting = {seq(3, 20, 0, 0)};
  c.waiting[0].prefix.tail = BlockId{3};
  c.waiting[0].prefix.tail_tokens = 3;
  EXPECT_EQ(c.text(), "rows=20 seq3[0+20]b5as preempt2") << "what 2 held is nobody's now";
}

TEST(Scheduler, AVictimFreesOnlyWhatNobodyElseHolds) {
  Shared c;
  c.free_blocks = 0;
  c.running[0].tokens = 13;  // needs one
  c.running[0].computed = 12;
  EXPECT_EQ(c.text(), "rows=1 seq1[12+1]b1s preempt2");
  c.running[0].tokens = 17;  // needs two: 2 gives one
  c.running[0].computed = 16;
  EXPECT_EQ(c.text(), "rows=0 preempt2 preempt1");
}

TEST(Scheduler, WhoWaitsForAPrefixIsPassedOver) {
  Case c;
  c.waiting = {seq(1, 4, 0, 0), seq(2, 4, 0, 0)};
  c.waiting[0].pending = true;
  EXPECT_EQ(c.text(), "rows=4 seq2[0+4]b1as");
}

TEST(Scheduler, APlanIsAFunctionOfItsInput) {
  Case c;
  c.running = {seq(1, 30, 10, 8), seq(2, 9, 8, 2)};
  c.waiting = {seq(3, 6, 0, 0)};
  EXPECT_EQ(c.plan(), c.plan());
}

SeqView drafted(SeqView view, std::int32_t draft) {
  view.draft = draft;
  return view;
}

TEST(Scheduler, DraftsTakeWhatRowsAreLeft) {
  Case c;
  c.running = {drafted(seq(1, 9, 8, 3), 3), drafted(seq(2, 20, 10, 5), 4), drafted(seq(3, 9, 8, 3), 4)};
  c.waiting = {seq(4, 6, 0, 0)};
  EXPECT_EQ(c.text(), "rows=25 seq1[8+4]sd3 seq3[8+5]b1sd4 seq2[10+10]s seq4[0+6]b2as");
  c.limits.max_num_batched_tokens = 23;  // prompts first, then the oldest draft
  EXPECT_EQ(c.text(), "rows=23 seq1[8+4]sd3 seq3[8+3]sd2 seq2[10+10]s seq4[0+6]b2as");
  c.limits.max_num_batched_tokens = 18;
  EXPECT_EQ(c.text(), "rows=18 seq1[8+1]s seq3[8+1]s seq2[10+10]s seq4[0+6]b2as");
}

TEST(Scheduler, DraftsTakeWhatBlocksAreLeft) {
  Case c;
  c.running = {drafted(seq(1, 12, 11, 3), 6), drafted(seq(2, 12, 11, 3), 6)};
  EXPECT_EQ(c.text(), "rows=14 seq1[11+7]b2sd6 seq2[11+7]b2sd6");
  c.free_blocks = 1;
  EXPECT_EQ(c.text(), "rows=6 seq1[11+5]b1sd4 seq2[11+1]s");
  c.free_blocks = 0;
  EXPECT_EQ(c.text(), "rows=2 seq1[11+1]s seq2[11+1]s");
  c.free_blocks = 9;
  c.running = {drafted(seq(1, 12, 11, 3, 4), 6)};  // no further than its end
  EXPECT_EQ(c.text(), "rows=5 seq1[11+5]b1sd4");
}

TEST(Scheduler, NoDraftWhereSomebodyHadToYield) {
  Case c;
  c.free_blocks = 0;
  c.running = {drafted(seq(1, 9, 8, 2), 2), drafted(seq(2, 10, 9, 3), 2), seq(3, 9, 8, 3)};
  EXPECT_EQ(c.text(), "rows=2 seq1[8+1]b1s seq2[9+1]s preempt3");
}

}  // namespace
}  // namespace foregate
