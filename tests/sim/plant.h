// Bugs that are planted to prove that the simulator sees them. None is in the engine: each sits in what the simulator
// puts at a seam (the planner's wrapper, the model, the clients' side of the engine, the device, the drafter), and does
// there what the engine would do if it had the bug.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/sched/scheduler.h"
#include "tests/sim/dice.h"

namespace foregate::sim {

enum class Plant : std::uint8_t {
  kNone,
  // of plans
  kYoungestFirst,
  kEvictsOldest,
  kRunsPaused,
  kTooManyRows,
  kTooManySeqs,
  kSpareBlock,
  kSkipsPosition,
  kForgetsRestore,
  kForgetsTailCopy,
  kTailTooLong,
  kDraftIsToken,
  kSamplesEarly,
  kWindowStartsLate,
  kWindowHasRoom,
  kWaitsForever,
  kSuspectNotAlone,
  kStarvesLong,
  // of what reaches the engine and what leaves it
  kCancelLost,
  kCancelLate,
  kPauseLost,
  kSaltLost,
  kDeadlineLost,
  kClientLost,
  kTokenDoubled,
  kTokenLost,
  kSecondFinish,
  kFinishLost,
  // of what computes
  kWritesNextSlot,
  kKeepsOldSlot,
  kNanSpreads,
  kSwapOverlaps,
  kDraftTooLong,
  kGivesUpEarly,
  kMixesGroups,
  kWrongExpert,
  // of a budget that is shared
  kSlotStays,
  kGivesBackNextPage,
  kCount,
};

struct PlantInfo {
  Plant plant;
  const char* name;
  int seeds;  // it must be found within so many
};
std::span<const PlantInfo> all_plants();

// plan_step with a bug of the first group in it. `paused`: by its reader, not because another one runs alone.
BatchPlan planted_plan(Plant plant, const PlanInput& input, const SchedLimits& limits, Dice& dice,
                       const std::function<bool(SeqId)>& paused);

}  // namespace foregate::sim
