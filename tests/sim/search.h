// The small twin of the simulator: every order of arrivals, cancels, pauses and faults over three requests and four
// blocks of two positions, breadth first, with the real engine loop behind it. A state is what the planner was given,
// what it decided, how the step ended, what the clients know and what the blocks hold, with block numbers renamed in
// the order of their appearance; from each new one all must end when nothing more happens. One thread.
#pragma once

#include <cstdint>
#include <string>

#include "engine/runtime/engine_parts.h"
#include "tests/sim/plant.h"
#include "tests/sim/sim_model.h"

namespace foregate::sim {

struct SearchScope {
  PolicyKind policy = PolicyKind::kFcfs;
  PreemptionMode preemption = PreemptionMode::kRecompute;
  SimWindow window;
  std::int64_t window_blocks = 0;  // of a group of their own; 0: there is none
  std::int32_t disturbances = 2;   // cancels, pauses and faults in one run
};

struct SearchResult {
  std::int64_t states = 0;
  std::int64_t turns = 0;  // taken in all runs
  std::int32_t depth = 0;  // of the deepest state
  bool closed = false;     // no state is left unexpanded
  std::string broke;       // the first thing that broke, and the path to it; empty: nothing
  EngineStats seen;        // the most that any run counted
};

// Stops unclosed at `most_states`.
SearchResult search(const SearchScope& scope, std::int64_t most_states, Plant plant = Plant::kNone);

}  // namespace foregate::sim
