#include "engine/sample/token_rules.h"

#include <algorithm>
#include <limits>

namespace foregate {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

bool ends_with(std::span<const Token> tokens, std::span<const Token> tail) {
  return tokens.size() >= tail.size() &&
         std::equal(tail.begin(), tail.end(), tokens.end() - static_cast<std::ptrdiff_t>(tail.size()));
}

// Where `what` ends for the first time, or -1.
std::ptrdiff_t end_of_first(std::span<const Token> tokens, std::span<const Token> what) {
  const auto at = std::search(tokens.begin(), tokens.end(), what.begin(), what.end());
  if (at == tokens.end()) return -1;
  return at - tokens.begin() + static_cast<std::ptrdiff_t>(what.size());
}

}  // namespace

void keep_only(std::span<float> logits, std::span<const Token> ids) {
  std::vector<float> kept(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) kept[i] = logits[static_cast<std::size_t>(ids[i])];
  std::fill(logits.begin(), logits.end(), kNever);
  for (std::size_t i = 0; i < ids.size(); ++i) logits[static_cast<std::size_t>(ids[i])] = kept[i];
}

void mask_bad_words(std::span<float> logits, std::span<const Token> output, std::span<const std::vector<Token>> words) {
  for (const std::vector<Token>& word : words) {
    const std::span<const Token> before = std::span(word).first(word.size() - 1);
    if (ends_with(output, before)) logits[static_cast<std::size_t>(word.back())] = kNever;
  }
}

std::optional<Token> forced_token(const ThinkingBudget& budget, std::span<const Token> output) {
  if (!budget.begun) {
    const std::ptrdiff_t begin = budget.open.empty() ? -1 : end_of_first(output, budget.open);
    if (begin < 0) return std::nullopt;
    output = output.subspan(static_cast<std::size_t>(begin));
  }
  const auto allowed = static_cast<std::size_t>(budget.tokens);
  if (output.size() < allowed || output.size() >= allowed + budget.close.size()) return std::nullopt;
  if (end_of_first(output, budget.close) >= 0) return std::nullopt;
  return budget.close[output.size() - allowed];
}

}  // namespace foregate
