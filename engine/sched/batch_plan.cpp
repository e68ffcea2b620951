#include "engine/sched/batch_plan.h"

namespace foregate {

std::string BatchPlan::to_string() const {
  std::string text = "rows=" + std::to_string(rows);
  for (const PlanEntry& e : entries) {
    text += " seq" + std::to_string(e.seq.value) + "[" + std::to_string(e.first_position) + "+" +
            std::to_string(e.rows) + "]";
    if (e.shared_blocks > 0) text += "p" + std::to_string(e.shared_blocks);
    if (e.copies_tail) text += "c";
    if (e.restored > 0) text += "r" + std::to_string(e.restored);
    if (e.new_blocks > 0) text += "b" + std::to_string(e.new_blocks);
    if (e.shared_window_blocks > 0) text += "v" + std::to_string(e.shared_window_blocks);
    if (e.new_window_blocks > 0) text += "w" + std::to_string(e.new_window_blocks);
    if (e.admitted) text += "a";
    if (e.samples) text += "s";
    if (e.draft > 0) text += "d" + std::to_string(e.draft);
  }
  for (SeqId seq : preempted) text += " preempt" + std::to_string(seq.value);
  return text;
}

}  // namespace foregate
