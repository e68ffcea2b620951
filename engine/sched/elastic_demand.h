// What the sequences of a turn want of the pool beyond the blocks they hold, as far as the next step or two go: the
// figures that elastic_plan.h decides by. Pure.
#pragma once

#include <cstdint>

#include "engine/sched/scheduler.h"

namespace foregate {

struct ElasticDemand {
  std::int32_t growing = 0;  // blocks for the tokens of running sequences, and one more each that is not at its end
  std::int32_t waiting = 0;  // for those that wait, as far as places and rows of the next step go
};

// Paused sequences want nothing, nor do those that wait for a prefix that another one computes. One that was preempted
// before is admitted only when it and all running ones fit to their end (INV-8), so it wants that.
ElasticDemand elastic_demand(const PlanInput& input, const SchedLimits& limits);

}  // namespace foregate
