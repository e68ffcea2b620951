// Ranked policies in a small world, thousands of seeds: bounds of every plan, conservation of blocks, progress while
// anything can run, an end for everybody, and for mlfq that nobody waits for longer than its bound says.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/base/rng.h"
#include "engine/kv/block_pool.h"
#include "engine/sched/policy.h"
#include "engine/sched/scheduler.h"

namespace foregate {
namespace {

constexpr std::int32_t kMostPositions = 32;

struct Actor {
  std::int32_t prompt = 0;
  std::int32_t output = 0;
  std::int32_t made = 0;
  std::int32_t computed = 0;
  std::int32_t reached = 0;
  std::int32_t blocks = 0;
  std::int32_t preemptions = 0;
  std::int32_t saved = 0;
  std::int32_t priority = 0;
  std::int32_t idle = 0;  // steps since it last ran
  std::int32_t arrives = 0;
  bool running = false;
  MlfqState mlfq;
};

class World {
 public:
  World(std::uint64_t seed, PolicyKind kind) : seed_(seed) {
    policy_.kind = kind;
    block_size_ = draw(1, 4);
    total_ = draw(4, 24);
    limits_.ranked = true;
    limits_.max_num_seqs = draw(1, 5);
    limits_.max_num_batched_tokens = draw(1, 20);
    limits_.max_prefill_chunk = draw(0, 1) * draw(1, 6);
    limits_.max_mixed_rows = draw(0, 1) * draw(1, 12);
    swaps_ = draw(0, 1) == 1;
    const int actors = draw(1, 12);
    policy_.mlfq = {draw(2, 5), draw(1, 8), 0};
    policy_.mlfq.promote_after = draw(1, 60);
    wait_bound_ = policy_.mlfq.promote_after + actors * policy_.mlfq.quantum;
    if (!swaps_) wait_bound_ += actors * kMostPositions;  // rows that are computed again use no quantum up
    for (int i = 0; i < actors; ++i) {
      Actor actor;
      const std::int32_t room = total_ * block_size_;
      actor.prompt = draw(1, std::min(room, 12));
      actor.output = draw(1, std::min(20, room - actor.prompt + 1));
      actor.priority = draw(0, 3);
      actor.arrives = draw(0, 30);
      actor.mlfq = mlfq_joined(policy_.mlfq, actor.prompt);
      actors_[SeqId{static_cast<std::uint64_t>(i) + 1}] = actor;
    }
  }

  void run() {
    for (step_ = 0; !actors_.empty(); ++step_) {
      ASSERT_LT(step_, 20000) << "no end in sight";
      turn();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  std::int64_t preemptions = 0;
  std::int64_t promotions = 0;
  std::int64_t demotions = 0;
  std::int64_t restored = 0;
  std::int64_t parked = 0;  // running ones that a step went by

 private:
  std::int32_t draw(std::int32_t low, std::int32_t high) {
    return low + static_cast<std::int32_t>(uniform01(seed_, 9, next_++) * (high - low + 1));
  }
  std::int32_t free_blocks() const {
    std::int32_t held = 0;
    for (const auto& [id, actor] : actors_) held += actor.blocks;
    return total_ - held;
  }

  SeqView view(SeqId id, const Actor& a) const {
    SeqView made;
    made.id = id;
    made.tokens = a.prompt + a.made;
    made.computed = a.computed;
    made.blocks = a.blocks;
    made.max_blocks = blocks_for(a.prompt + a.output - 1, block_size_);
    made.was_preempted = a.preemptions > 0;
    made.saved = a.saved;
    return made;
  }

  BatchPlan plan() const {
    std::vector<PolicyView> shown;
    for (const auto& [id, a] : actors_) {
      if (a.arrives > step_) continue;
      PolicyView one;
      one.id = id;
      one.priority = a.priority;
      one.mlfq = a.mlfq;
      one.running = a.running;
      shown.push_back(one);
    }
    std::vector<SeqView> running;
    std::vector<SeqView> waiting;
    std::int32_t rank = 0;
    for (std::size_t i : policy_order(policy_, shown, {})) {
      const Actor& a = actors_.at(shown[i].id);
      SeqView made = view(shown[i].id, a);
      made.rank = rank++;
      (a.running ? running : waiting).push_back(made);
    }
    PlanInput input;
    input.running = running;
    input.waiting = waiting;
    input.free_blocks = free_blocks();
    input.block_size = block_size_;
    return plan_step(input, limits_);
  }

  void turn() {
    const BatchPlan plan = this->plan();
    const bool runnable =
        std::ranges::any_of(actors_, [&](const auto& entry) { return entry.second.arrives <= step_; });
    ASSERT_EQ(plan.empty(), !runnable) << "progress: " << plan.to_string();
    ASSERT_LE(plan.rows, limits_.max_num_batched_tokens);
    ASSERT_LE(static_cast<std::int32_t>(plan.entries.size()), limits_.max_num_seqs);
    for (SeqId id : plan.preempted) preempt(id);
    for (auto& [id, a] : actors_) {
      const bool runs = std::ranges::find(plan.entries, id, &PlanEntry::seq) != plan.entries.end();
      if (a.arrives <= step_ && !runs) pass_by(a);
    }
    for (const PlanEntry& entry : plan.entries) advance(entry);
    ASSERT_GE(free_blocks(), 0);
  }

  void pass_by(Actor& a) {
    parked += a.running ? 1 : 0;
    if (policy_.kind != PolicyKind::kMlfq) return;
    const bool before = a.mlfq.promoted_at >= 0;
    a.mlfq = mlfq_skipped(policy_.mlfq, a.mlfq, step_);
    promotions += !before && a.mlfq.promoted_at >= 0 ? 1 : 0;
    ASSERT_LE(++a.idle, wait_bound_) << "starved";
  }

  void preempt(SeqId id) {
    Actor& a = actors_.at(id);
    ASSERT_TRUE(a.running);
    a.saved = swaps_ ? a.computed : 0;
    a.running = false;
    a.blocks = a.computed = 0;
    ++a.preemptions;
    ++preemptions;
  }

  void advance(const PlanEntry& entry) {
    Actor& a = actors_.at(entry.seq);
    ASSERT_EQ(entry.admitted, !a.running);
    ASSERT_EQ(entry.first_position, entry.admitted ? a.saved : a.computed);
    restored += entry.restored > 0 ? 1 : 0;
    a.saved = 0;
    ASSERT_GE(entry.rows, 1);
    a.running = true;
    a.idle = 0;
    a.blocks += entry.new_blocks;
    a.computed = entry.first_position + entry.rows;
    ASSERT_LE(a.computed, a.blocks * block_size_) << "a row without a slot";
    const std::int32_t level = a.mlfq.level;
    a.mlfq = mlfq_ran(policy_.mlfq, a.mlfq, std::max(0, a.computed - a.reached));
    demotions += a.mlfq.level > level ? 1 : 0;
    a.reached = std::max(a.reached, a.computed);
    ASSERT_EQ(entry.samples, a.computed == a.prompt + a.made);
    if (entry.samples && ++a.made == a.output) actors_.erase(entry.seq);
  }

  std::uint64_t seed_;
  std::uint64_t next_ = 0;
  std::int32_t block_size_ = 1;
  std::int32_t total_ = 1;
  std::int32_t step_ = 0;
  std::int32_t wait_bound_ = 0;
  bool swaps_ = false;
  SchedLimits limits_;
  PolicyOptions policy_;
  std::map<SeqId, Actor> actors_;
};

class RankedSim : public ::testing::TestWithParam<PolicyKind> {};
TEST_P(RankedSim, BoundsProgressAndEnd) {
  std::int64_t preemptions = 0, promotions = 0, demotions = 0, restored = 0, parked = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    World world(seed, GetParam());
    world.run();
    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed;
    preemptions += world.preemptions;
    promotions += world.promotions;
    demotions += world.demotions;
    restored += world.restored;
    parked += world.parked;
  }
  EXPECT_GT(preemptions, 1000);
  EXPECT_GT(restored, 100);
  EXPECT_GT(parked, 1000);
  if (GetParam() != PolicyKind::kMlfq) return;
  EXPECT_GT(promotions, 10);
  EXPECT_GT(demotions, 1000);
}
INSTANTIATE_TEST_SUITE_P(Scheduler, RankedSim, ::testing::Values(PolicyKind::kPriority, PolicyKind::kMlfq));

}  // namespace
}  // namespace foregate
