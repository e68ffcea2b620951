#include "engine/spec/ngram_drafter.h"

#include <algorithm>

namespace foregate {
namespace {

// Tokens before `end` that equal the last ones of the sequence, `longest` at most.
std::size_t common_suffix(std::span<const Token> tokens, std::size_t end, std::size_t longest) {
  std::size_t length = 0;
  while (length < longest && length < end && tokens[end - 1 - length] == tokens[tokens.size() - 1 - length]) ++length;
  return length;
}

}  // namespace

std::vector<Token> lookup_draft(std::span<const Token> tokens, std::int32_t shortest, std::int32_t longest,
                                std::int32_t most, std::size_t* matched) {
  const auto least = static_cast<std::size_t>(std::max(1, shortest));
  const auto limit = static_cast<std::size_t>(std::max(1, longest));
  std::size_t best = 0;
  std::size_t best_end = 0;
  for (std::size_t end = tokens.size(); end-- > least && best < limit;) {
    const std::size_t length = common_suffix(tokens, end, limit);
    if (length < least || length <= best) continue;
    best = length;
    best_end = end;
  }
  if (matched != nullptr) *matched = best;
  std::vector<Token> draft;
  if (best == 0) return draft;
  for (std::size_t i = 0; i < static_cast<std::size_t>(std::max(0, most)); ++i) {
    const std::size_t from = best_end + i;
    draft.push_back(from < tokens.size() ? tokens[from] : draft[from - tokens.size()]);
  }
  return draft;
}

void NgramDrafter::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  for (std::size_t i = 0; i < asks.size(); ++i) {
    std::size_t matched = 0;
    Draft& draft = drafts[i];
    draft.tokens = lookup_draft(asks[i].tokens, shortest_, longest_, asks[i].most, &matched);
    for (std::size_t k = 0; k < draft.tokens.size(); ++k) {
      const auto same = static_cast<float>(matched + k);
      draft.sure.push_back(same / (same + 1.0F));
    }
  }
}

}  // namespace foregate
