#include "tests/sim/plant.h"

#include <algorithm>
#include <vector>

namespace foregate::sim {
namespace {

constexpr PlantInfo kPlants[] = {
    {Plant::kYoungestFirst, "waiting ones are admitted youngest first", 50},
    {Plant::kEvictsOldest, "the oldest gives up its blocks first", 50},
    {Plant::kRunsPaused, "a paused sequence runs", 50},
    {Plant::kTooManyRows, "a step has more rows than it may", 50},
    {Plant::kTooManySeqs, "a step has more sequences than it may", 50},
    {Plant::kSpareBlock, "a sequence reserves a block it has no rows for", 50},
    {Plant::kSkipsPosition, "a prompt starts one position late", 50},
    {Plant::kForgetsRestore, "swapped blocks are not copied back", 200},
    {Plant::kForgetsTailCopy, "the tail of a prefix is not copied", 200},
    {Plant::kTailTooLong, "a prefix is taken for one position longer than it is", 200},
    {Plant::kDraftIsToken, "a drafted token counts as decided", 50},
    {Plant::kSamplesEarly, "a token is sampled from the middle of a prompt", 50},
    {Plant::kWindowStartsLate, "a prefix is taken over without the first block of its window", 200},
    {Plant::kWindowHasRoom, "blocks of the window group are counted that are not there", 200},
    {Plant::kWaitsForever, "who waits for a prefix is not woken", 200},
    {Plant::kSuspectNotAlone, "after a failed step all go on together", 100},
    {Plant::kStarvesLong, "long prompts are passed over", 50},
    {Plant::kCancelLost, "a cancel is lost", 50},
    {Plant::kCancelLate, "a cancel takes five turns", 50},
    {Plant::kPauseLost, "a pause is lost", 50},
    {Plant::kSaltLost, "the salt of a tenant is lost", 200},
    {Plant::kDeadlineLost, "a deadline is lost", 50},
    {Plant::kClientLost, "a client has no share", 200},
    {Plant::kTokenDoubled, "a token is told twice", 50},
    {Plant::kTokenLost, "a token is not told", 50},
    {Plant::kSecondFinish, "a finish is told twice", 50},
    {Plant::kFinishLost, "a finish is not told", 50},
    {Plant::kWritesNextSlot, "keys go into the slot after their own", 50},
    {Plant::kKeepsOldSlot, "a slot that was written is not written again", 200},
    {Plant::kNanSpreads, "a row that is not finite spoils its neighbour", 100},
    {Plant::kSwapOverlaps, "two copies of swapped blocks lie in one place", 1000},
    {Plant::kDraftTooLong, "a drafter gives more than it was asked for", 50},
    {Plant::kGivesUpEarly, "a block is given up while its last position is still read", 200},
    {Plant::kMixesGroups, "layers with a window read the blocks of the others", 200},
    {Plant::kWrongExpert, "an expert is read from where another one is", 400},
    {Plant::kSlotStays, "a slot of experts is counted as gone and stays", 200},
    {Plant::kGivesBackNextPage, "the pages of the block beside are given back", 200},
};
static_assert(std::size(kPlants) == static_cast<std::size_t>(Plant::kCount) - 1);

struct Views {
  std::vector<SeqView> running;
  std::vector<SeqView> waiting;
  PlanInput input;
  SchedLimits limits;
  explicit Views(const PlanInput& from, const SchedLimits& most)
      : running(from.running.begin(), from.running.end()),
        waiting(from.waiting.begin(), from.waiting.end()),
        input(from),
        limits(most) {}
  BatchPlan plan() {
    input.running = running;
    input.waiting = waiting;
    return plan_step(input, limits);
  }
  // Whoever has the worst rank of them gets the best.
  static void reverse_ranks(std::vector<SeqView>& views) {
    std::vector<std::int32_t> ranks;
    for (const SeqView& view : views) ranks.push_back(view.rank);
    std::ranges::reverse(views);
    std::ranges::sort(ranks);
    for (std::size_t i = 0; i < ranks.size(); ++i) views[i].rank = ranks[i];
  }
};

// What the planner is told is wrong.
BatchPlan misled_plan(Plant plant, Views views, Dice& dice, const std::function<bool(SeqId)>& paused) {
  switch (plant) {
    case Plant::kYoungestFirst: Views::reverse_ranks(views.waiting); break;
    case Plant::kEvictsOldest: Views::reverse_ranks(views.running); break;
    case Plant::kRunsPaused:
      for (SeqView& view : views.running) view.paused = view.paused && !(paused(view.id) && dice.chance(0.5));
      break;
    case Plant::kTooManyRows: ++views.limits.max_num_batched_tokens; break;
    case Plant::kTooManySeqs: ++views.limits.max_num_seqs; break;
    case Plant::kWindowHasRoom: views.input.free_window_blocks += views.input.window.on() ? 2 : 0; break;
    case Plant::kTailTooLong:
      for (SeqView& view : views.waiting) {
        const auto known = static_cast<std::int32_t>(view.prefix.blocks.size()) * views.input.block_size;
        const std::int32_t more = view.prefix.tail_tokens + 1;
        const bool room = more < views.input.block_size && known + more < view.tokens;
        if (view.prefix.tail && room && view.saved == 0) ++view.prefix.tail_tokens;
      }
      break;
    case Plant::kWaitsForever:
      for (SeqView& view : views.waiting) view.pending = view.pending || !view.prefix.blocks.empty();
      break;
    case Plant::kSuspectNotAlone:
      for (auto* list : {&views.running, &views.waiting}) {
        for (SeqView& view : *list) view.paused = paused(view.id);
      }
      break;
    case Plant::kStarvesLong:
      if (std::ranges::any_of(views.running, [](const SeqView& view) { return !view.paused; })) {
        std::erase_if(views.waiting, [](const SeqView& view) { return view.tokens > 16; });
      }
      break;
    default: break;
  }
  return views.plan();
}

// What the planner says is changed.
void spoil(Plant plant, PlanEntry& entry) {
  switch (plant) {
    case Plant::kSpareBlock: entry.new_blocks += 1; break;
    case Plant::kSkipsPosition:
      if (!entry.admitted || entry.rows < 2) break;
      ++entry.first_position;
      --entry.rows;
      break;
    case Plant::kForgetsRestore: entry.restored = 0; break;
    case Plant::kForgetsTailCopy: entry.copies_tail = false; break;
    case Plant::kDraftIsToken:
      if (entry.draft > 0) --entry.draft;
      break;
    case Plant::kSamplesEarly: entry.samples = true; break;
    case Plant::kWindowStartsLate:
      if (!entry.admitted || entry.shared_window_blocks == 0) break;
      ++entry.first_window_block;
      --entry.shared_window_blocks;
      break;
    default: break;
  }
}

}  // namespace

std::span<const PlantInfo> all_plants() {
  return kPlants;
}

BatchPlan planted_plan(Plant plant, const PlanInput& input, const SchedLimits& limits, Dice& dice,
                       const std::function<bool(SeqId)>& paused) {
  BatchPlan plan = misled_plan(plant, Views(input, limits), dice, paused);
  for (PlanEntry& entry : plan.entries) {
    const std::int32_t rows = entry.rows;
    if (plant != Plant::kSpareBlock || input.free_blocks >= 4) spoil(plant, entry);
    plan.rows += entry.rows - rows;
  }
  return plan;
}

}  // namespace foregate::sim
