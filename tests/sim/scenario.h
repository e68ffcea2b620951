// What a seed stands for: the options of the service and how its clients behave.
#pragma once

#include <cstdint>

#include "engine/runtime/engine_parts.h"
#include "tests/sim/dice.h"
#include "tests/sim/sim_elastic.h"
#include "tests/sim/sim_experts.h"
#include "tests/sim/sim_model.h"

namespace foregate::sim {

struct Scenario {
  EngineOptions options;
  Limits limits;
  std::int32_t block_size = 1;
  std::int64_t num_blocks = 1;
  ExpertScenario experts;
  ElasticScenario elastic;  // of its blocks, num_blocks are the least
  SimWindow window;
  std::int64_t window_blocks = 0;  // of a group of their own; 0: layers with a window share the blocks of the others
  std::int32_t drafts = 0;         // tokens drafted at a time; 0: none
  bool adaptive = false;
  double draft_errs = 0.0;
  ModelFaults faults;
  double allocation_fails = 0.0;
  std::int32_t turns = 0;  // with arrivals and faults; after them all must end
  double arrivals = 0.0;   // a turn
  double cancels = 0.0;
  double slow_readers = 0.0;
  double deadlines = 0.0;
  std::int32_t drain_at = -1;
  bool destroys = false;  // ends the engine in the middle
};

Scenario draw_scenario(std::uint64_t seed);
Request draw_request(Dice& dice, std::uint64_t id, const Scenario& scenario, TimeNs now);

}  // namespace foregate::sim
