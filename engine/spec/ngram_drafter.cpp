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

Draft lookup_draft(std::span<const Token> tokens, std::int32_t shortest, std::int32_t longest, std::int32_t most) {
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
  Draft draft;
  if (best == 0) return draft;
  for (std::size_t i = 0; i < static_cast<std::size_t>(std::max(0, most)); ++i) {
    const std::size_t from = best_end + i;
    draft.push_back(from < tokens.size() ? tokens[from] : draft[from - tokens.size()]);
  }
  return draft;
}

void NgramDrafter::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  for (std::size_t i = 0; i < asks.size(); ++i) {
    drafts[i] = lookup_draft(asks[i].tokens, shortest_, longest_, asks[i].most);
  }
}

}  // namespace foregate
