// Decides the next step from plain values: continuous batching in the order of a policy; prompts cut into chunks
// under a row budget; prefixes that others computed taken over; preemption when blocks run out. Pure functions,
// no state between calls (INV-6).
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>

#include "engine/base/ids.h"
#include "engine/kv/kv_window.h"
#include "engine/sched/batch_plan.h"

namespace foregate {

struct SchedLimits {
  std::int32_t max_num_seqs = 1;            // sequences in one step
  std::int32_t max_num_batched_tokens = 1;  // rows of one step
  std::int32_t max_prefill_chunk = 0;       // rows of one prompt in one step; 0 = no bound of its own
  std::int32_t max_mixed_rows = 0;          // rows of a step with decode rows in it; 0 = no bound of its own
  bool ranked = false;                      // better ranks take rows and blocks from worse ones that run
};

// What a waiting sequence may start with instead of computing it.
struct PrefixView {
  std::span<const BlockId> blocks;  // whole blocks of its first tokens
  std::optional<BlockId> tail;      // one more, of which the first tail_tokens positions; it gets a copy
  std::int32_t tail_tokens = 0;
  // Of the window group: what of its blocks goes with that, from number window_first on.
  std::span<const BlockId> window_blocks;
  std::optional<BlockId> window_tail;
  std::int32_t window_first = 0;
};

// What the scheduler may know of a sequence.
struct SeqView {
  SeqId id;
  std::int32_t tokens = 0;                                            // known tokens, prompt and output
  std::int32_t computed = 0;                                          // of these, in the cache
  std::int32_t blocks = 0;                                            // held, or given up behind its window
  std::int32_t max_blocks = 0;                                        // held when it has grown to its end
  std::int32_t max_chunk = std::numeric_limits<std::int32_t>::max();  // rows it takes in one step
  std::int32_t draft = 0;                                             // tokens drafted for it, to verify if they fit
  bool paused = false;
  bool was_preempted = false;
  bool held_back = false;          // runs no row in this step, so that others need not wait for its experts
  bool pending = false;            // waits for another sequence that computes the same prefix
  std::int32_t rank = 0;           // among all running and waiting ones, 0 is the best; used where they are ranked
  std::int32_t saved = 0;          // of a waiting one: first positions whose contents are in host memory
  std::span<const BlockId> table;  // the blocks held; may be left out where PlanInput::refs is
  // Of the window group: blocks held or given up, those held, and what `saved` begins with.
  std::int32_t window_blocks = 0;
  std::span<const BlockId> window_table;
  std::int32_t saved_window_first = 0;
  PrefixView prefix;
};

struct PlanInput {
  std::span<const SeqView> running;  // hold blocks; best rank first
  std::span<const SeqView> waiting;  // hold none; best rank first
  std::int32_t free_blocks = 0;
  std::int32_t block_size = 1;
  std::span<const std::int32_t> refs;  // holders of each block; empty: no block has two, and none is shared
  KvWindow window;                     // of layers that have blocks of their own
  std::int32_t free_window_blocks = 0;
  std::span<const std::int32_t> window_refs;  // holders of each; given where the group is
};

// Rules, in order; "older" is better in rank, which is the order of arrival under fcfs:
//  1. Decode rows of running sequences, oldest first. When blocks run out, the latest paused sequence
//     is preempted, then the latest arrived; an older sequence never yields to a younger one that is
//     not paused.
//  2. Further chunks of prompts that are under way, oldest first.
//  3. Admission in order of arrival, only in a step without preemption. A new sequence needs blocks
//     for the tokens it has, less those of its prefix that somebody holds; one that was preempted before needs room
//     for itself and for all running ones to grow to their end, so that it is not preempted by growth a second time
//     (INV-8). One whose prefix another is computing is passed over until it is there.
//  4. When nothing could be planned although something unpaused waits, paused sequences are
//     preempted until the oldest fits (INV-7: whatever is runnable makes progress).
//  Drafts of decode rows get what rows and blocks are left, oldest first, in a step without preemption. Blocks that
//     only rejected rows needed are given back after the step, so a draft never pushes anybody out.
//  Prompt rows keep within max_mixed_rows where there are decode rows, but a block of them always runs.
//  Blocks of the window group are taken for the rows of a step only, since as many are given up behind the window. A
//     prompt under way gets fewer rows where they are too few, and pushes nobody out for more than the first of them.
//
// Ranked (priority, mlfq), other rules hold:
//  1. The step is for the best max_num_seqs that can run, whether they run or wait; others keep their blocks until
//     these are needed. Each of them gets a row, decode rows are kept for those that decode, and the better rank gets
//     more of the rest.
//  2. In order of rank each gets the blocks it needs: free ones, then those of paused sequences, then those of
//     worse ranks from the worst on. One that was preempted before needs room to its end beside better ones (INV-8).
//  3. When a waiting one does not fit even so, none of worse rank is admitted in this step.
BatchPlan plan_step(const PlanInput& input, const SchedLimits& limits);

// What makes the plans of an engine; plan_step, unless a simulation puts something around it.
using PlanStep = std::function<BatchPlan(const PlanInput&, const SchedLimits&)>;

}  // namespace foregate
