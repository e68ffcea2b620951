#include "engine/runtime/device_sampling.h"

#include "engine/sample/device_rule.h"

namespace foregate {

SampleInput sample_input(const Sequence& seq, std::span<const Token> eos_ids) {
  SampleInput input;
  input.prompt = seq.request->prompt;
  input.output = seq.output();
  input.params = &seq.request->sampling;
  input.eos_ids = eos_ids;
  input.seed = seq.seed;
  input.index = seq.index;
  return input;
}

void ask_for_tokens(const BatchPlan& plan, SequenceTable& sequences, StepIo& io) {
  io.rules.assign(io.logit_rows.size(), SampleRule{.wanted = false});
  for (std::size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    const Sequence& seq = sequences.at(entry.seq);
    if (!entry.samples || seq.constraint != nullptr) continue;
    const SampleInput input = sample_input(seq, {});
    const LogitRange& range = io.logit_ranges[i];
    for (std::int32_t ahead = 0; ahead <= entry.draft; ++ahead) {  // the row itself, then those of its draft
      const std::int32_t row = range.first + range.rows - 1 - entry.draft + ahead;
      // The last row of a prompt whose log-probabilities are wanted scores nothing: it is behind the prompt.
      if (const auto rule = device_rule(input, ahead)) io.rules[static_cast<std::size_t>(row)] = *rule;
    }
  }
}

}  // namespace foregate
