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
                                std::int32_t most, std::size_t* matched, std::span<const Token> except) {
  const auto least = static_cast<std::size_t>(std::max(1, shortest));
  const auto limit = static_cast<std::size_t>(std::max(1, longest));
  std::size_t best = 0;
  std::size_t best_end = 0;
  for (std::size_t end = tokens.size(); end-- > least && best < limit;) {
    const std::size_t length = common_suffix(tokens, end, limit);
    if (length < least || length <= best || std::ranges::find(except, tokens[end]) != except.end()) continue;
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

// The most similar places that go on with different tokens: each is followed as far as the tree has a first child.
void NgramDrafter::look_up_tree(const DraftAsk& ask, Draft& draft) const {
  std::vector<Token> first;
  const TreeShape::Range children = ask.tree->children(-1);
  for (std::int32_t child = children.first; child < children.end; ++child) {
    std::int32_t length = 0;
    for (TreeShape::Range after{child, child + 1}; after.first < after.end && length < ask.most; ++length) {
      after = ask.tree->children(after.first);
    }
    std::size_t matched = 0;
    const std::vector<Token> found = lookup_draft(ask.tokens, shortest_, longest_, length, &matched, first);
    if (found.empty()) return;
    for (std::size_t k = 0; k < found.size(); ++k) {
      const auto same = static_cast<float>(matched + k);
      draft.parents.push_back(k == 0 ? -1 : static_cast<std::int32_t>(draft.tokens.size()) - 1);
      draft.tokens.push_back(found[k]);
      draft.sure.push_back(same / (same + 1.0F) / (k == 0 ? static_cast<float>(first.size() + 1) : 1.0F));
    }
    first.push_back(found.front());
  }
}

void NgramDrafter::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  for (std::size_t i = 0; i < asks.size(); ++i) {
    std::size_t matched = 0;
    Draft& draft = drafts[i];
    if (asks[i].tree != nullptr) {
      look_up_tree(asks[i], draft);
      continue;
    }
    draft.tokens = lookup_draft(asks[i].tokens, shortest_, longest_, asks[i].most, &matched);
    for (std::size_t k = 0; k < draft.tokens.size(); ++k) {
      const auto same = static_cast<float>(matched + k);
      draft.sure.push_back(same / (same + 1.0F));
    }
  }
}

}  // namespace foregate
