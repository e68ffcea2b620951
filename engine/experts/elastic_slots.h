// Slots of experts whose number changes between steps, for who shares a budget among them and something else. Engine
// thread, between steps.
#pragma once

#include <cstdint>

namespace foregate {

struct ElasticSlotFigures {
  std::int64_t bytes = 0;        // of slots there now
  std::int64_t least_bytes = 0;  // that stay in any case
  std::int64_t most_bytes = 0;   // that there may be
  std::int64_t slot_bytes = 0;   // of the largest
  std::uint64_t slots = 0;
  std::uint64_t misses = 0;  // experts that were not in memory, since start
  double stall_seconds = 0.0;
};

class ElasticSlots {
 public:
  virtual ~ElasticSlots() = default;
  virtual ElasticSlotFigures elastic_figures() const = 0;
  // Gives up slots, empty ones first and then those of the experts that are worth least, until `bytes` or more went
  // back to the system, or no more can go now: what is pinned or being read stays. Bytes that went.
  virtual std::int64_t give_up(std::int64_t bytes) = 0;
  // As many more slots as fit into `bytes`, empty ones. Bytes that they take.
  virtual std::int64_t take(std::int64_t bytes) = 0;
};

}  // namespace foregate
