// A plan in the making (rules: scheduler.h). Inner part of engine/sched; lives for one plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/sched/block_holders.h"
#include "engine/sched/scheduler.h"

namespace foregate {

class Planner {
 public:
  Planner(const PlanInput& input, const SchedLimits& limits);
  BatchPlan by_arrival();
  BatchPlan by_rank();

 private:
  struct State {            // of a running sequence
    std::int32_t held = 0;  // at the end of this step
    bool evicted = false;
    bool planned = false;
  };
  // What a waiting sequence takes out of the free blocks when it is admitted.
  struct Admission {
    std::int32_t first = 0;   // position it starts at
    std::int32_t shared = 0;  // blocks of its prefix
    std::int32_t fresh = 0;   // to reserve
    std::int32_t taken = 0;   // fresh ones, and shared ones that nobody holds
    std::int32_t restored = 0;
    bool tail = false;
  };
  // What evictions change, to take them back.
  struct Before {
    BlockHolders holders;
    std::vector<State> state;
    std::int32_t free;
    std::int32_t active;
    std::size_t preempted;
  };

  // Shared by both orders.
  std::int32_t need(const SeqView& seq) const;
  Admission admission(const SeqView& seq) const;
  std::size_t latest_paused() const;  // state_.size(): none
  std::int32_t freed(const SeqView& seq, std::int32_t held);
  void evict(std::size_t running);
  void take(std::size_t running, std::int32_t blocks);
  void take(const SeqView& seq, const Admission& a);
  std::int32_t most_rows(const SeqView& seq, std::int32_t first_position, std::int32_t budget) const;
  PlanEntry& add_entry(const SeqView& seq, std::int32_t first_position, std::int32_t new_blocks, std::int32_t rows);
  void add_admission(const SeqView& seq, const Admission& a, std::int32_t rows);
  std::int32_t prompt_budget(std::int32_t budget, std::int32_t decode_rows) const;
  void add_drafts();

  // By arrival.
  bool full() const;
  void plan_running(bool decode);
  bool make_room(std::size_t running, std::int32_t blocks);
  std::size_t pick_victim(std::size_t running) const;
  std::int32_t growth() const;
  bool fits(const SeqView& seq, const Admission& a) const;
  void admit();
  void make_room_for_head();

  // By rank.
  struct Member {
    const SeqView* seq = nullptr;
    std::size_t running = 0;  // its index there
    bool runs = false;
    bool decodes() const { return runs && seq->tokens - seq->computed == 1; }
  };
  std::vector<Member> best() const;
  void plan_member(const Member& member, std::int32_t decode_rows_after);
  bool holds_tail(const SeqView& seq) const;
  std::size_t worst_holder(std::int32_t better_than) const;
  bool fits_ranked(const SeqView& seq, const Admission& a) const;
  bool make_room_ranked(const SeqView& seq);
  Before before() const;
  void take_back(Before before);

  const PlanInput& input_;
  const SchedLimits& limits_;
  BlockHolders holders_;
  std::vector<State> state_;
  std::int32_t free_;
  std::int32_t budget_;
  std::int32_t active_ = 0;  // unpaused sequences that hold blocks
  std::int32_t admitted_growth_ = 0;
  std::int32_t decode_rows_ = 0;
  bool admission_closed_ = false;
  std::vector<BlockId> tails_;  // blocks that this plan copies from
  BatchPlan plan_;
};

}  // namespace foregate
