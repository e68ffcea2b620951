// One step as decided by the scheduler: which sequences run, which rows of each, who gets blocks and
// who gives them up. Immutable once made; printable, and equal inputs give equal plans.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/ids.h"

namespace foregate {

// Rows first_position .. first_position + rows - 1 of one sequence.
struct PlanEntry {
  SeqId seq;
  std::int32_t first_position = 0;
  std::int32_t rows = 0;
  std::int32_t draft = 0;          // of the rows, the last so many hold drafted tokens
  std::int32_t new_blocks = 0;     // to reserve before the step
  std::int32_t shared_blocks = 0;  // of its prefix, to take over before that
  bool copies_tail = false;        // the first new block starts as a copy of the prefix's tail
  // Of the window group: to reserve, to take over, and of one that is admitted the number of its first block.
  std::int32_t new_window_blocks = 0;
  std::int32_t shared_window_blocks = 0;
  std::int32_t first_window_block = 0;
  std::int32_t restored = 0;  // first positions that come back from host memory into its blocks
  bool samples = false;       // the last row that is no draft is the newest token: its logits give the next one
  bool partial = false;       // a part of what was left to compute, not the whole
  bool admitted = false;      // it leaves the queue with this step
  bool operator==(const PlanEntry&) const = default;
};

struct BatchPlan {
  std::vector<PlanEntry> entries;  // decode rows first, then prefill
  std::vector<SeqId> preempted;    // give up their blocks before the step and wait again
  std::int32_t rows = 0;
  bool empty() const { return entries.empty(); }
  std::string to_string() const;
  bool operator==(const BatchPlan&) const = default;
};

}  // namespace foregate
