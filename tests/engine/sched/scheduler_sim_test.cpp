// The planner in a small world of its own, thousands of seeds: bounds of every plan, conservation of
// blocks, progress while anything can run, and an end for everybody once the pauses stop.
#include <gtest/gtest.h>

#include <map>

#include "engine/base/rng.h"
#include "engine/kv/block_pool.h"
#include "engine/sched/scheduler.h"

namespace foregate {
namespace {

struct Actor {
  std::int32_t prompt = 0;
  std::int32_t output = 0;  // tokens to generate
  std::int32_t made = 0;
  std::int32_t computed = 0;
  std::int32_t blocks = 0;
  bool running = false;
  bool paused = false;
  std::int32_t preemptions = 0;
  std::int32_t pauses = 0;
};

class World {
 public:
  explicit World(std::uint64_t seed) : seed_(seed) {
    block_size_ = draw(1, 4);
    total_ = draw(4, 24);
    limits_.max_num_seqs = draw(1, 5);
    limits_.max_num_batched_tokens = draw(1, 20);
    limits_.max_prefill_chunk = draw(0, 1) * draw(1, 6);
    pausing_ = draw(0, 1) == 1;
    drafting_ = seed % 2 == 1;
    const int actors = draw(1, 12);
    for (int i = 0; i < actors; ++i) {
      Actor actor;
      const std::int32_t room = total_ * block_size_;  // positions in the pool
      actor.prompt = draw(1, std::min(room, 12));
      actor.output = draw(1, std::min(12, room - actor.prompt + 1));
      actors_[SeqId{static_cast<std::uint64_t>(i) + 1}] = actor;
    }
  }

  void run() {
    for (int step = 0; !actors_.empty(); ++step) {
      ASSERT_LT(step, 20000) << "no end in sight";
      if (pausing_ && step < 300) toggle_pauses();
      if (step == 300) unpause();
      turn();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  std::int64_t preemptions = 0;
  std::int64_t drafts = 0;

 private:
  std::int32_t draw(std::int32_t low, std::int32_t high) {
    return low + static_cast<std::int32_t>(uniform01(seed_, 9, next_++) * (high - low + 1));
  }
  std::int32_t tokens(const Actor& a) const { return a.prompt + a.made; }

  void toggle_pauses() {
    for (auto& [id, actor] : actors_) {
      if (draw(0, 9) > 0) continue;
      actor.paused = !actor.paused;
      actor.pauses += actor.paused ? 1 : 0;
    }
  }
  void unpause() {
    for (auto& [id, actor] : actors_) actor.paused = false;
  }

  std::int32_t free_blocks() const {
    std::int32_t held = 0;
    for (const auto& [id, actor] : actors_) held += actor.blocks;
    return total_ - held;
  }

  BatchPlan plan() const {
    std::vector<SeqView> running;
    std::vector<SeqView> waiting;
    for (const auto& [id, a] : actors_) {
      SeqView view;
      view.id = id;
      view.tokens = tokens(a);
      view.computed = a.computed;
      view.blocks = a.blocks;
      view.max_blocks = blocks_for(a.prompt + a.output - 1, block_size_);
      view.paused = a.paused;
      view.was_preempted = a.preemptions > 0;
      if (drafting_)
        view.draft =
            std::min<std::int32_t>((a.made * 7 + static_cast<std::int32_t>(id.value)) % 5, a.output - a.made - 1);
      (a.running ? running : waiting).push_back(view);
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
    bool runnable = false;
    for (const auto& [id, actor] : actors_) runnable = runnable || !actor.paused;
    ASSERT_EQ(plan.empty(), !runnable) << "progress: " << plan.to_string();
    ASSERT_LE(plan.rows, limits_.max_num_batched_tokens);
    ASSERT_LE(static_cast<std::int32_t>(plan.entries.size()), limits_.max_num_seqs);
    for (SeqId id : plan.preempted) preempt(id);
    for (const PlanEntry& entry : plan.entries) advance(entry);
    ASSERT_GE(free_blocks(), 0);
  }

  void preempt(SeqId id) {
    ASSERT_EQ(actors_.count(id), 1u);
    Actor& a = actors_[id];
    ASSERT_TRUE(a.running);
    a.running = false;
    a.blocks = a.computed = 0;
    ++preemptions;
    // Growth preempts once; pauses of readers may add to that.
    ++a.preemptions;
    ASSERT_LE(a.preemptions, pausing_ ? 1000 : 1);
  }

  void advance(const PlanEntry& entry) {
    ASSERT_EQ(actors_.count(entry.seq), 1u);
    Actor& a = actors_[entry.seq];
    ASSERT_FALSE(a.paused);
    ASSERT_EQ(entry.admitted, !a.running);
    ASSERT_EQ(entry.first_position, a.computed);
    ASSERT_GE(entry.rows, 1);
    a.running = true;
    a.blocks += entry.new_blocks;
    a.computed += entry.rows;
    ASSERT_LE(a.computed, a.blocks * block_size_) << "a row without a slot";
    a.computed -= entry.draft;
    ASSERT_EQ(entry.samples, a.computed == tokens(a));
    ASSERT_TRUE(entry.draft == 0 || (entry.samples && entry.rows == 1 + entry.draft));
    ASSERT_LT(a.made + entry.draft, a.output) << "a draft past the end";
    drafts += entry.draft;
    const std::int32_t accepted = draw(0, entry.draft);
    a.computed += accepted;
    a.made += entry.samples ? 1 + accepted : 0;
    if (entry.draft > 0) a.blocks = std::min(a.blocks, blocks_for(a.computed, block_size_));  // of rejected rows
    if (a.made == a.output) actors_.erase(entry.seq);
  }

  std::uint64_t seed_;
  std::uint64_t next_ = 0;
  std::int32_t block_size_ = 1;
  std::int32_t total_ = 1;
  SchedLimits limits_;
  bool pausing_ = false;
  bool drafting_ = false;
  std::map<SeqId, Actor> actors_;
};

TEST(SchedulerSim, BoundsProgressAndEnd) {
  std::int64_t preemptions = 0;
  std::int64_t drafts = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    World world(seed);
    world.run();
    ASSERT_FALSE(::testing::Test::HasFatalFailure()) << "seed " << seed;
    preemptions += world.preemptions;
    drafts += world.drafts;
  }
  EXPECT_GT(preemptions, 1000);
  EXPECT_GT(drafts, 1000);
}

}  // namespace
}  // namespace foregate
