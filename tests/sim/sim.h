// One simulated service, from one seed: the real engine loop, scheduler, policies, KV pool, prefix cache, swap,
// speculation and sampler on one thread, driven turn by turn; clock, model, device, drafter and clients are the
// simulator's. The same seed gives the same run.
#pragma once

#include <cstdint>
#include <string>

#include "engine/api/engine.h"
#include "tests/sim/plant.h"

namespace foregate::sim {

struct Outcome {
  std::string broke;  // empty: all that must hold held
  std::uint64_t trace = 0;
  std::int64_t turns = 0;
  std::int64_t accepted = 0;
  std::int64_t refused = 0;
  std::int64_t refused_share = 0;
  std::int64_t failed_steps = 0;
  std::int64_t pauses = 0;
  bool drained = false;
  bool destroyed = false;  // while requests were live
  bool engine_failed = false;
  std::uint64_t expert_loads = 0, expert_hits = 0, expert_evictions = 0, expert_failures = 0;  // of the real store
  EngineStats stats;
};

Outcome simulate(std::uint64_t seed, Plant plant = Plant::kNone);

}  // namespace foregate::sim
