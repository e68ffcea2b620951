#include "engine/runtime/accept.h"

#include <algorithm>
#include <utility>

#include "engine/runtime/device_sampling.h"
#include "engine/sample/logit_row.h"
#include "engine/sample/logprobs.h"
#include "engine/spec/verify.h"

namespace foregate {
namespace {

Status not_finite() {
  return data_loss("the model gave logits that are not finite numbers");
}

Status score_prompt(const LogitRange& range, const StepRunner& runner, Sequence& seq) {
  std::vector<PositionLogprobs>& scored = seq.prompt_logprobs;
  if (scored.empty()) scored.emplace_back();  // nothing comes before the first token
  for (std::int32_t i = 0; i < range.rows; ++i) {
    const std::int32_t next = range.first_position + i + 1;  // the position that this row predicts
    if (next >= seq.prompt_tokens() || next != static_cast<std::int32_t>(scored.size())) continue;
    const auto logits = runner.logits(range.first + i);
    if (!all_finite(logits)) return not_finite();
    scored.push_back(
        position_logprobs(logits, seq.tokens[static_cast<std::size_t>(next)], *seq.request->prompt_logprobs));
  }
  return {};
}

struct Row {
  std::int32_t number = 0;      // of the step's logits
  Token sampled = kNotSampled;  // by the model
};

// The next token by a row of logits, held to the form that the request asks for.
Result<SampledToken> sample(const Sequence& seq, const Row& row, const StepRunner& runner,
                            std::span<const Token> eos_ids, Sampler& sampler) {
  SampleInput input = sample_input(seq, eos_ids);
  if (row.sampled == kSampleNotFinite) return not_finite();
  if (row.sampled >= 0) return SampledToken{row.sampled, ends_sample(input, row.sampled), std::nullopt};
  input.logits = runner.logits(row.number);
  if (seq.constraint == nullptr) return sampler.sample(input);
  ASSIGN_OR_RETURN(input.allowed, seq.constraint->allowed());
  ASSIGN_OR_RETURN(SampledToken sampled, sampler.sample(input));
  if (!sampled.stops) RETURN_IF_ERROR(seq.constraint->accept(sampled.token));
  return sampled;
}

// The token becomes part of the sample, or ends it.
void take(SampledToken sampled, Sequence& seq, TokenEvent& event) {
  if (sampled.stops) {
    event.finish = FinishReason::kStop;
    event.stop_token = sampled.token;
    return;
  }
  seq.tokens.push_back(sampled.token);
  event.tokens.push_back(sampled.token);
  if (sampled.logprobs) event.logprobs.push_back(std::move(*sampled.logprobs));
  if (seq.output_tokens() >= seq.request->sampling.max_tokens) event.finish = FinishReason::kLength;
  if (seq.constraint != nullptr && seq.constraint->complete()) event.finish = FinishReason::kStop;
}

}  // namespace

std::span<const std::int32_t> tree_of(const PlanEntry& entry, const Sequence& seq) {
  const std::span<const std::int32_t> parents = seq.draft_parents;
  const std::span<const std::int32_t> planned = parents.first(std::min(parents.size(), std::size_t(entry.draft)));
  return is_chain(planned) ? std::span<const std::int32_t>() : planned;
}

Result<std::optional<TokenEvent>> accept_entry(const PlanEntry& entry, const LogitRange& range,
                                               const StepRunner& runner, std::span<const Token> tokens,
                                               std::span<const Token> eos_ids, Sampler& sampler, Sequence& seq) {
  seq.computed = entry.first_position + entry.rows - entry.draft;
  if (seq.wants_prompt_logprobs()) RETURN_IF_ERROR(score_prompt(range, runner, seq));
  if (!entry.samples) {
    if (range.rows > 0 && !all_finite(runner.logits(range.first + range.rows - 1))) return not_finite();
    return std::optional<TokenEvent>();
  }
  TokenEvent event;
  event.request = seq.request->id;
  event.index = seq.index;
  Status failed;
  const std::span<const Token> draft = std::span(seq.draft).first(static_cast<std::size_t>(entry.draft));
  const auto choose = [&](std::size_t row) -> std::optional<Token> {
    const std::int32_t at = range.first + range.rows - 1 - entry.draft + static_cast<std::int32_t>(row);
    const Token chosen = tokens.empty() ? kNotSampled : tokens[static_cast<std::size_t>(at)];
    auto sampled = sample(seq, {at, chosen}, runner, eos_ids, sampler);
    if (!sampled.ok()) return failed = sampled.status(), std::nullopt;
    const Token token = sampled->token;
    take(std::move(*sampled), seq, event);
    return event.finish ? std::nullopt : std::optional(token);
  };
  const std::span<const std::int32_t> parents = tree_of(entry, seq);
  seq.draft_path.clear();
  const std::size_t stand =
      parents.empty() ? verify_chain(draft, choose) : verify_tree(draft, parents, seq.draft_path, choose);
  // A row that failed after others were good counts as rejected: computed anew, it fails in its own name. So does the
  // first one beside a draft, if its logits are not finite: they may be so because of the draft.
  const bool may_be_the_draft = entry.draft > 0 && failed.code() == Code::kDataLoss;
  if (!failed.ok() && stand == 0 && !may_be_the_draft) return failed;
  seq.computed += static_cast<std::int32_t>(stand) - (failed.ok() ? 0 : 1);
  if (!failed.ok() && stand == 0) return std::optional<TokenEvent>();
  if (seq.wants_prompt_logprobs()) {
    event.prompt_logprobs = std::move(seq.prompt_logprobs);
    seq.prompt_logprobs_sent = true;
  }
  return std::optional<TokenEvent>(std::move(event));
}

bool spoilt_by_draft(const PlanEntry& entry, const LogitRange& range, const StepRunner& runner,
                     std::span<const Token> sampled) {
  bool spoilt = false;
  for (std::int32_t row = range.rows - 1 - entry.draft; entry.draft > 0 && row < range.rows; ++row) {
    const std::int32_t at = range.first + row;
    const Token token = sampled.empty() ? kNotSampled : sampled[static_cast<std::size_t>(at)];
    const bool finite = token == kNotSampled ? all_finite(runner.logits(at)) : token != kSampleNotFinite;
    spoilt = spoilt || !finite;
  }
  return spoilt;
}

}  // namespace foregate
