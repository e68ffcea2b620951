// Stage: turns a plan into the arrays of a step. Reads sequences and the open transactions, writes
// only the StepIo. Engine thread.
#pragma once

#include "engine/kv/kv_pools.h"
#include "engine/runtime/sequence_table.h"
#include "engine/runtime/step_io.h"
#include "engine/sched/batch_plan.h"

namespace foregate {

// `prove_chunks`: logits also of the last row of a part of a prompt, to see that they are finite.
void build_step(const BatchPlan& plan, SequenceTable& sequences, const KvStep& step, const KvPools& pools,
                bool prove_chunks, StepIo& io);

}  // namespace foregate
