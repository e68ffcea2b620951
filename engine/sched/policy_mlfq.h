// Skip-join multi-level feedback queue (FastServe, arXiv 2305.05920): a sequence joins the first level whose quantum
// covers its prompt, and falls a level each time it has used up a quantum; so short work is done first though nobody
// knows the lengths of answers. Who ran no row for `promote_after` steps comes before all for a quantum. Pure; any
// thread.
#pragma once

#include <cstdint>

namespace foregate {

struct MlfqOptions {
  std::int32_t levels = 8;
  std::int32_t quantum = 64;          // tokens of the top level; each level below has twice that of the one above
  std::int32_t promote_after = 1024;  // steps
};

struct MlfqState {
  std::int32_t level = 0;         // 0 is the best
  std::int32_t used = 0;          // tokens of this level's quantum
  std::int32_t skipped = 0;       // steps since it last ran
  std::int64_t promoted_at = -1;  // step; until it has used up a quantum of the top level it comes before all levels
  bool operator==(const MlfqState&) const = default;
};

std::int64_t mlfq_quantum(const MlfqOptions& options, std::int32_t level);
MlfqState mlfq_joined(const MlfqOptions& options, std::int32_t prompt_tokens);
// A step computed `tokens` positions of it that were never computed before.
MlfqState mlfq_ran(const MlfqOptions& options, MlfqState state, std::int32_t tokens);
// Step number `step` ran without it although it could have run.
//
// The bound: promoted ones run in the order in which they were promoted, and the first of them runs in every step and
// is done after `quantum` new tokens. So among n sequences nobody that can run waits for more than promote_after +
// n * quantum steps, and the steps in which those promoted before it compute again what they had to give up.
MlfqState mlfq_skipped(const MlfqOptions& options, MlfqState state, std::int64_t step);

}  // namespace foregate
