// Fetch and commit of one plan entry: scores the prompt rows that were asked for, samples the next
// token and says what to tell the client. Touches one Sequence. Engine thread.
#pragma once

#include <optional>
#include <span>

#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/runtime/step_io.h"
#include "engine/runtime/step_runner.h"
#include "engine/sample/sampler.h"
#include "engine/sched/batch_plan.h"
#include "engine/sched/sequence.h"

namespace foregate {

// Of the part of its draft that an entry has rows for, which token each follows (Draft::parents); empty: it is a chain.
std::span<const std::int32_t> tree_of(const PlanEntry& entry, const Sequence& seq);

// The event to emit, none while the prompt is not whole. The new token is appended to the sequence
// unless it is a stop id; with a draft, all tokens that stand. Says in Sequence::computed which rows are kept, and in
// Sequence::draft_path which those of a tree are.
// `sampled`: tokens by logit row that the model chose (StepIo::sampled), or none.
// kDataLoss when logits are not finite, also of a part of a prompt that has any: only this sequence must end (INV-11).
// With a draft it does not end; that row and all after it count as rejected (INV-20).
Result<std::optional<TokenEvent>> accept_entry(const PlanEntry& entry, const LogitRange& range,
                                               const StepRunner& runner, std::span<const Token> sampled,
                                               std::span<const Token> eos_ids, Sampler& sampler, Sequence& seq);

// Whether a row of the entry's draft, or the one before it, gave logits that are not finite.
bool spoilt_by_draft(const PlanEntry& entry, const LogitRange& range, const StepRunner& runner,
                     std::span<const Token> sampled);

}  // namespace foregate
