// How one budget of bytes is shared by KV blocks and slots of experts: what changes before the next step. A pure
// function of figures; what it remembers from one step to the next is a value that the caller keeps (as MlfqState).
//
// Blocks are wanted now, experts gain over time, so they are not weighed alike:
//  1. When the sequences that run, or those that could be admitted into the next step, need more blocks than are free,
//     blocks become more: out of bytes that nobody has, then out of slots, down to the least number of these.
//  2. When more blocks than the need and a reserve were free all the time for `sustain_seconds`, and steps waited
//     for experts meanwhile, what was free all that time becomes slots. Any need for blocks begins
//     the time anew, and so does its end.
//  3. In each `interval_seconds` at most `bytes_per_interval` change hands, but for the blocks without which a running
//     sequence would have to give up its own.
#pragma once

#include <cstdint>

#include "engine/base/clock.h"

namespace foregate {

struct ElasticRules {
  double sustain_seconds = 2.0;
  double interval_seconds = 1.0;
  std::int64_t bytes_per_interval = 0;
  std::int32_t reserve_blocks = 0;
};

struct ElasticFacts {
  TimeNs now = 0;
  // Blocks. All but `growing` and `waiting` are of the pool; free ones can be had at once.
  std::int32_t free = 0;
  std::int32_t growing = 0;  // wanted by running sequences within the next step or two
  std::int32_t waiting = 0;  // by those that wait and have a place in the next step
  std::int32_t present = 0;
  std::int32_t least = 0;  // present ever
  std::int32_t most = 0;
  std::int32_t unit = 1;  // blocks that come and go together
  std::int64_t block_bytes = 0;
  // Experts.
  std::int64_t expert_bytes = 0;        // of slots there now
  std::int64_t least_expert_bytes = 0;  // that they keep
  std::int64_t most_expert_bytes = 0;   // of all experts, or what the budget leaves beside `least` blocks
  std::int64_t slot_bytes = 0;          // of the largest slot
  std::uint64_t misses = 0;             // experts that were not in memory, since the last call
  double stall_seconds = 0.0;           // that steps waited for experts, since the last call
  std::int64_t spare_bytes = 0;         // of the budget, nobody's
};

// Between calls.
struct ElasticMemo {
  TimeNs interval_began = 0;
  std::int64_t moved_bytes = 0;  // since then
  TimeNs idle_since = 0;
  std::int32_t idle_blocks = 0;  // free beyond need and reserve all the time since then
  bool idle = false;
  std::uint64_t misses = 0;  // since then
  double stall_seconds = 0.0;
};

// Units of blocks that come (> 0) or go (< 0).
std::int32_t plan_elastic(const ElasticFacts& facts, const ElasticRules& rules, ElasticMemo& memo);

}  // namespace foregate
