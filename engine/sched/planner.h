// A plan in the making (rules: scheduler.h). Inner part of engine/sched; lives for one plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/sched/block_holders.h"
#include "engine/sched/scheduler.h"

namespace foregate {

// Blocks of both groups.
struct Blocks {
  std::int32_t main = 0;
  std::int32_t window = 0;
  bool within(const Blocks& room) const { return main <= room.main && window <= room.window; }
  Blocks& operator+=(const Blocks& more) {
    main += more.main;
    window += more.window;
    return *this;
  }
  Blocks& operator-=(const Blocks& less) {
    main -= less.main;
    window -= less.window;
    return *this;
  }
};

class Planner {
 public:
  Planner(const PlanInput& input, const SchedLimits& limits);
  BatchPlan by_arrival();
  BatchPlan by_rank();

 private:
  struct State {    // of a running sequence
    Blocks reach;   // places of its tables at the end of this step
    Blocks rising;  // of these, new in this step
    bool evicted = false;
    bool planned = false;
  };
  // What a waiting sequence takes out of the free blocks when it is admitted.
  struct Admission {
    std::int32_t first = 0;         // position it starts at
    std::int32_t rows = 0;          // in this step
    std::int32_t first_window = 0;  // number of its first block of the window group
    Blocks shared;                  // of its prefix
    Blocks fresh;                   // to reserve
    Blocks taken;                   // fresh ones, and shared ones that nobody holds
    std::int32_t restored = 0;
    bool tail = false;
  };
  // What evictions change, to take them back.
  struct Before {
    BlockHolders holders;
    BlockHolders window_holders;
    std::vector<State> state;
    Blocks free;
    std::int32_t active;
    std::size_t preempted;
  };

  // Shared by both orders.
  bool grouped() const { return input_.window.on(); }
  std::int32_t need(const SeqView& seq) const;
  Blocks more_for(std::size_t running, std::int32_t rows) const;
  Admission admission(const SeqView& seq, std::int32_t budget) const;
  void share_window(const SeqView& seq, Admission& a) const;
  bool may_copy_tail(const SeqView& seq, const Admission& a) const;
  Blocks growth_of(std::size_t running) const;
  Blocks growth_of(const SeqView& seq, const Admission& a) const;
  std::int32_t most_window(const SeqView& seq, std::int32_t first_position) const;
  std::size_t latest_paused() const;  // state_.size(): none
  Blocks freed(const SeqView& seq, const State& state);
  void evict(std::size_t running);
  void take(std::size_t running, const Blocks& blocks);
  void take(const SeqView& seq, const Admission& a);
  std::int32_t most_rows(const SeqView& seq, std::int32_t first_position, std::int32_t budget) const;
  std::int32_t rows_in_room(std::size_t running, std::int32_t rows) const;
  PlanEntry& add_entry(const SeqView& seq, std::int32_t first_position, const Blocks& fresh, std::int32_t rows);
  void add_admission(const SeqView& seq, const Admission& a);
  std::int32_t prompt_budget(std::int32_t budget, std::int32_t decode_rows) const;
  void add_drafts();

  // By arrival.
  bool full() const;
  void plan_running(bool decode);
  bool make_room(std::size_t running, const Blocks& blocks, bool gives_way);
  std::size_t pick_victim(std::size_t running, bool over_planned) const;
  Blocks growth() const;
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
  bool make_room_ranked(const Member& member, std::int32_t budget);
  Before before() const;
  void take_back(Before before);

  const PlanInput& input_;
  const SchedLimits& limits_;
  BlockHolders holders_;
  BlockHolders window_holders_;
  std::vector<State> state_;
  Blocks free_;
  std::int32_t budget_;
  std::int32_t active_ = 0;  // unpaused sequences that hold blocks
  Blocks admitted_growth_;
  std::int32_t decode_rows_ = 0;
  bool admission_closed_ = false;
  std::vector<BlockId> tails_;  // blocks that this plan copies from
  std::vector<BlockId> window_tails_;
  BatchPlan plan_;
};

}  // namespace foregate
