// What every way of running a MoE block shares: group the routed rows by expert, run groups, combine in slot order, add
// the shared expert. Groups may run in any order and at any time: each writes rows of its own, and the combination
// reads them in slot order, so the bits are the same.
#pragma once

#include <span>

#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

// Fills scratch.groups by scratch.route, one group per chosen expert, ascending, without weights yet;
// scratch.group_experts and scratch.group_rows say which and how many, scratch.group_drafted_rows how many are drafts'.
void group_by_expert(const Step& step);

// The FFN of some of the groups, whose weights are set by now. May reorder them.
void run_groups(const Step& step, std::span<ExpertGroup> groups);
// The same outside a step: rows of x to rows of y; `inner` is [sum of rows, intermediate].
void run_groups(const OpTable& ops, Stream& stream, Activation activation, View2<const float> x, View2<float> y,
                float* inner, std::span<ExpertGroup> groups);

// scratch.delta = what all groups gave, and the shared expert's part.
void combine_groups(const Step& step, const LayerWeights& weights);
// Adds the shared expert's part to scratch.delta; nothing where there is none.
void add_shared_expert(const Step& step, const LayerWeights& weights);

}  // namespace foregate
