#include "engine/sched/scheduler.h"

#include "engine/sched/planner.h"

namespace foregate {

BatchPlan plan_step(const PlanInput& input, const SchedLimits& limits) {
  Planner planner(input, limits);
  return limits.ranked ? planner.by_rank() : planner.by_arrival();
}

}  // namespace foregate
