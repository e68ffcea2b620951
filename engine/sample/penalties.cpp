#include "engine/sample/penalties.h"

#include <limits>

namespace foregate {
namespace {

std::size_t at(Token id) {
  return static_cast<std::size_t>(id);
}

}  // namespace

void mask_tokens(std::span<float> logits, std::span<const Token> ids) {
  for (Token id : ids) {
    if (id >= 0 && at(id) < logits.size()) logits[at(id)] = -std::numeric_limits<float>::infinity();
  }
}

void apply_logit_bias(std::span<float> logits, std::span<const std::pair<Token, float>> bias) {
  for (const auto& [id, value] : bias) logits[at(id)] += value;
}

void apply_repetition_penalty(std::span<float> logits, std::span<const Token> prompt, std::span<const Token> output,
                              float penalty, TokenCounts& scratch) {
  if (penalty == 1.0f) return;
  std::vector<std::int32_t>& seen = scratch.counts();
  for (std::span<const Token> part : {prompt, output}) {
    for (Token id : part) {
      if (seen[at(id)]++ > 0) continue;
      float& logit = logits[at(id)];
      logit = logit > 0.0f ? logit / penalty : logit * penalty;
    }
  }
  for (std::span<const Token> part : {prompt, output}) {
    for (Token id : part) seen[at(id)] = 0;
  }
}

void apply_count_penalties(std::span<float> logits, std::span<const Token> output, float presence, float frequency,
                           TokenCounts& scratch) {
  if (presence == 0.0f && frequency == 0.0f) return;
  std::vector<std::int32_t>& counts = scratch.counts();
  for (Token id : output) ++counts[at(id)];
  for (Token id : output) {
    std::int32_t& count = counts[at(id)];
    if (count == 0) continue;
    logits[at(id)] -= frequency * static_cast<float>(count);
    logits[at(id)] -= presence;
    count = 0;
  }
}

}  // namespace foregate
