// Asks a model that samples where it computes for the tokens of a step, so that their logits need not come to the host.
// Engine thread.
#pragma once

#include <span>

#include "engine/runtime/sequence_table.h"
#include "engine/runtime/step_io.h"
#include "engine/sample/sampler.h"
#include "engine/sched/batch_plan.h"

namespace foregate {

// What the sampler is told of a sequence, without logits and form.
SampleInput sample_input(const Sequence& seq, std::span<const Token> eos_ids);

// After build_step(): sets io.rules, one for each row of logits.
void ask_for_tokens(const BatchPlan& plan, SequenceTable& sequences, StepIo& io);

}  // namespace foregate
