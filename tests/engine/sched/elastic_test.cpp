// How one budget is shared between KV blocks and experts: the decision from figures alone, what sequences want, and a
// pool whose blocks come and go.
#include <gtest/gtest.h>

#include <vector>

#include "engine/base/rng.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/kv_txn.h"
#include "engine/sched/elastic_demand.h"
#include "engine/sched/elastic_plan.h"

namespace foregate {
namespace {

constexpr TimeNs kSecond = 1'000'000'000;

// 100 blocks of 10 bytes and 40 slots of 50 bytes: 3000 bytes, all given out.
ElasticFacts settled() {
  ElasticFacts f;
  f.now = kSecond;
  f.free = 50;
  f.present = 100;
  f.least = 20;
  f.most = 280;
  f.block_bytes = 10;
  f.expert_bytes = 2000;
  f.least_expert_bytes = 200;
  f.most_expert_bytes = 2800;
  f.slot_bytes = 50;
  return f;
}

constexpr ElasticRules kRules = {
    .sustain_seconds = 2.0, .interval_seconds = 1.0, .bytes_per_interval = 400, .reserve_blocks = 10};

ElasticMemo memo_at(TimeNs now) {
  ElasticMemo memo;
  memo.interval_began = memo.idle_since = now;
  return memo;
}

TEST(ElasticPlan, NothingMovesWhereNothingIsWanted) {
  ElasticFacts f = settled();
  ElasticMemo memo = memo_at(f.now);
  for (int i = 0; i < 100; ++i, f.now += kSecond) EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
  f.misses = 3;  // hidden behind other work: nobody waited
  for (int i = 0; i < 100; ++i, f.now += kSecond) EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
}

TEST(ElasticPlan, BlocksComeWhenSomebodyWaitsForThem) {
  ElasticFacts f = settled();
  ElasticMemo memo = memo_at(f.now);
  f.waiting = 50;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 0);  // they are free
  f.waiting = 63;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 13);
  f.unit = 4;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 4);  // 16 blocks
}

TEST(ElasticPlan, OnlyWhatKeepsSomebodyRunningGoesBeyondTheBoundOfAnInterval) {
  ElasticFacts f = settled();
  ElasticMemo memo = memo_at(f.now);
  f.free = 0;
  f.waiting = 90;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 40);  // 400 bytes
  EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
  f.growing = 7;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 7);
  f.now += kSecond;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 40);
}

TEST(ElasticPlan, BothKeepTheirLeast) {
  ElasticFacts f = settled();
  ElasticMemo memo = memo_at(f.now);
  f.free = 0;
  f.growing = 1000;
  f.expert_bytes = 245;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 4);
  f.spare_bytes = 30;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 7);
  f.present = 278;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 2);
  f.expert_bytes = 200;
  f.spare_bytes = 9;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
  ElasticFacts idle = settled();
  idle.misses = 1;
  idle.stall_seconds = 0.1;
  idle.present = 27;
  idle.free = 27;
  memo = memo_at(idle.now);
  plan_elastic(idle, kRules, memo);
  idle.now += 2 * kSecond;
  EXPECT_EQ(plan_elastic(idle, kRules, memo), -5);  // one slot of fifty bytes; seven may go
}

TEST(ElasticPlan, BlocksGoOnlyAfterTheyWereIdleAllTheTime) {
  ElasticFacts f = settled();
  f.misses = 1;
  f.stall_seconds = 0.01;
  ElasticMemo memo = memo_at(f.now);
  EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
  f.now += kSecond;
  f.free = 23;  // for a moment; 13 beyond the reserve
  EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
  f.now += kSecond;
  f.free = 60;
  EXPECT_EQ(plan_elastic(f, kRules, memo), -10);  // of thirteen, in whole slots
  EXPECT_EQ(plan_elastic(f, kRules, memo), 0);    // and the time begins anew
  f.now += kSecond;
  f.waiting = 61;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 1);  // a need begins it anew too
  f.waiting = 0;
  f.now += kSecond;
  EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
  f.now += kSecond;
  EXPECT_EQ(plan_elastic(f, kRules, memo), -40);  // within the bound of an interval
  f.expert_bytes = f.most_expert_bytes;
  for (int i = 0; i < 9; ++i, f.now += kSecond) EXPECT_EQ(plan_elastic(f, kRules, memo), 0);
}

// Whatever the figures: bounds hold, and what is decided can be paid for.
TEST(ElasticPlan, BoundsHoldForAnyFigures) {
  ElasticMemo memo = memo_at(0);
  ElasticFacts f = settled();
  std::uint64_t draw = 0;
  const auto below = [&draw](std::int64_t most) {
    return static_cast<std::int64_t>(uniform01(7, 1, draw++) * static_cast<double>(most));
  };
  std::int64_t moved_in_interval = 0, grown = 0, gone = 0;
  TimeNs interval = 0;
  for (int i = 0; i < 200'000; ++i) {
    f.now += below(kSecond / 2);
    f.unit = 2;
    f.free = static_cast<std::int32_t>(below(f.present + 1));
    f.growing = static_cast<std::int32_t>(below(3) == 0 ? below(40) : 0);
    f.waiting = static_cast<std::int32_t>(below(5) == 0 ? below(200) : 0);
    f.misses = static_cast<std::uint64_t>(below(3));
    f.stall_seconds = 0.01 * static_cast<double>(below(2));
    f.spare_bytes = 3000 - f.present * f.block_bytes - f.expert_bytes;
    ASSERT_GE(f.spare_bytes, 0);
    const std::int32_t units = plan_elastic(f, kRules, memo);
    const std::int64_t bytes = units * f.unit * f.block_bytes;
    if (memo.interval_began != interval) moved_in_interval = 0;
    interval = memo.interval_began;
    if (units > 0) {
      ASSERT_GT(f.growing + f.waiting, f.free);
      ASSERT_LE(f.present + units * f.unit, f.most);
      ASSERT_LE(bytes, f.spare_bytes + f.expert_bytes - f.least_expert_bytes);
      if (f.growing <= f.free) ASSERT_LE(moved_in_interval + bytes, kRules.bytes_per_interval);
      const std::int64_t missing = std::max<std::int64_t>(0, bytes - f.spare_bytes);
      f.expert_bytes -= (missing + f.slot_bytes - 1) / f.slot_bytes * f.slot_bytes;
      grown += units;
    } else if (units < 0) {
      ASSERT_LE(-units * f.unit, f.free - f.growing - f.waiting - kRules.reserve_blocks);
      ASSERT_GE(f.present + units * f.unit, f.least);
      ASSERT_LE(moved_in_interval - bytes, kRules.bytes_per_interval);
      f.expert_bytes += (f.spare_bytes - bytes) / f.slot_bytes * f.slot_bytes;
      ASSERT_LE(f.expert_bytes, f.most_expert_bytes + f.slot_bytes);
      gone -= units;
    }
    moved_in_interval += std::abs(bytes);
    f.present += units * f.unit;
  }
  EXPECT_GT(grown, 1000);
  EXPECT_GT(gone, 1000);
}

SeqView view(std::uint64_t id, std::int32_t tokens, std::int32_t computed, std::int32_t blocks, std::int32_t most) {
  SeqView seq;
  seq.id = SeqId{id};
  seq.tokens = tokens;
  seq.computed = computed;
  seq.blocks = blocks;
  seq.max_blocks = most;
  return seq;
}

TEST(ElasticDemand, CountsWhatTheNextStepsWant) {
  std::vector<SeqView> running = {view(1, 9, 8, 2, 6), view(2, 8, 7, 2, 2), view(3, 30, 4, 1, 8)};
  std::vector<SeqView> waiting = {view(4, 12, 0, 0, 5), view(5, 40, 0, 0, 12), view(6, 4, 0, 0, 2)};
  PlanInput input;
  input.running = running;
  input.waiting = waiting;
  input.block_size = 4;
  SchedLimits limits;
  limits.max_num_seqs = 8;
  limits.max_num_batched_tokens = 64;
  ElasticDemand demand = elastic_demand(input, limits);
  EXPECT_EQ(demand.growing, 2 + 0 + 7);  // the second is at its end
  EXPECT_EQ(demand.waiting, 3 + 1 + 10 + 1);
  limits.max_num_seqs = 4;
  EXPECT_EQ(elastic_demand(input, limits).waiting, 4);  // one place
  limits.max_num_batched_tokens = 28;
  EXPECT_EQ(elastic_demand(input, limits).waiting, 0);  // no rows
  limits = {.max_num_seqs = 8, .max_num_batched_tokens = 64};
  running[2].paused = true;
  waiting[1].pending = true;
  demand = elastic_demand(input, limits);
  EXPECT_EQ(demand.growing, 2);
  EXPECT_EQ(demand.waiting, 4 + 2);
  waiting[0].was_preempted = true;  // it, and the running ones, to their end
  EXPECT_EQ(elastic_demand(input, limits).waiting, 5 + 2 + 2);
  const std::vector<std::int32_t> refs = {1, 0, 0};
  const std::vector<BlockId> shared = {BlockId{0}, BlockId{1}};
  input.refs = refs;
  waiting[0].was_preempted = false;
  waiting[0].prefix.blocks = shared;  // one of them is held by somebody
  EXPECT_EQ(elastic_demand(input, limits).waiting, 2 + 1 + 2);
}

TEST(ElasticPool, UnitsGoAndComeAndNothingElseIsTouched) {
  BlockPool pool(24, 4, 12, 3);
  EXPECT_EQ(pool.present_blocks(), 12);
  EXPECT_EQ(pool.absent_units(), 4);
  std::vector<BlockId> held;
  for (int i = 0; i < 4; ++i) held.push_back(*pool.acquire());
  EXPECT_EQ(pool.free_blocks(), 8);
  std::vector<BlockId> gone = pool.remove_units(9);
  EXPECT_EQ(gone.size(), 2u);  // the others hold something
  EXPECT_EQ(pool.present_blocks(), 6);
  EXPECT_EQ(pool.free_blocks(), 2);
  for (int i = 0; i < 2; ++i) held.push_back(*pool.acquire());
  EXPECT_FALSE(pool.acquire());
  pool.add_units(6);
  EXPECT_EQ(pool.present_blocks(), 24);
  EXPECT_EQ(pool.free_blocks(), 18);
  for (const BlockId block : held) pool.release(block);
  EXPECT_TRUE(pool.audit({}).ok()) << pool.audit({}).to_string();
}

TEST(ElasticPool, KeptBlocksGoInTheOrderInWhichTheirContentsWould) {
  BlockPool pool(6, 4, 6, 1);
  std::vector<BlockId> told;
  pool.on_evict([&told](BlockId block) { told.push_back(block); });
  std::vector<BlockId> blocks;
  for (int i = 0; i < 5; ++i) blocks.push_back(*pool.acquire());
  for (const BlockId block : blocks) pool.publish(block);
  for (const int i : {2, 0, 1}) pool.release(blocks[static_cast<std::size_t>(i)]);
  EXPECT_EQ(pool.free_blocks(), 4);
  EXPECT_EQ(pool.remove_units(1).size(), 1u);  // the empty one
  EXPECT_TRUE(told.empty());
  const std::vector<BlockId> gone = pool.remove_units(2);
  EXPECT_EQ(told, (std::vector<BlockId>{blocks[2], blocks[0]}));
  EXPECT_EQ(gone.size(), 2u);
  EXPECT_EQ(pool.free_blocks(), 1);
  EXPECT_TRUE(pool.published(blocks[1]));
  EXPECT_FALSE(pool.published(blocks[0]));
}

}  // namespace
}  // namespace foregate
