#include "tests/engine/runtime/tree_oracle.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "kernels/api/check.h"

namespace foregate::testing_support {

TreeShape wide_tree() {
  Result<TreeShape> shape = parse_token_tree(
      nlohmann::json("[(0,), (1,), (2,), (0,0), (0,1), (1,0), (1,1), (0,0,0), (1,0,0), (1,0,1), (1,0,0,0)]"));
  CHECK(shape.ok());
  return std::move(shape).value();
}

TreeOracle::TreeOracle(const std::vector<Request>& requests, const std::vector<SampleLog>& answers, std::int32_t vocab)
    : vocab_(vocab) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    std::vector<Token>& answer = answers_[requests[i].id.value] = answers[i].tokens;
    if (answers[i].stop_token >= 0) answer.push_back(answers[i].stop_token);
    prompts_[requests[i].id.value] = requests[i].prompt.size();
  }
}

void TreeOracle::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  for (std::size_t i = 0; i < asks.size(); ++i) grow(asks[i], -1, -1, 0, true, drafts[i]);
}

void TreeOracle::grow(const DraftAsk& ask, std::int32_t node, std::int32_t at, std::size_t depth, bool right,
                      Draft& draft) {
  const std::vector<Token>& answer = answers_.at(ask.request.value);
  const std::size_t place = ask.tokens.size() - prompts_.at(ask.request.value) + depth;
  if (place >= answer.size() || depth == static_cast<std::size_t>(ask.most)) return;
  const TreeShape::Range children = ask.tree->children(node);
  const std::int32_t wide = children.end - children.first;
  const auto hit = static_cast<std::int32_t>(uniform01(ask.request.value, 5, place) * (wide + 0.5));
  for (std::int32_t rank = 0; rank < wide; ++rank) {
    const bool stands = right && rank == hit;
    draft.tokens.push_back(stands ? answer[place] : (answer[place] + 1 + rank) % vocab_);
    draft.sure.push_back(1.0F / static_cast<float>(rank + 1));
    draft.parents.push_back(at);
    grow(ask, children.first + rank, static_cast<std::int32_t>(draft.tokens.size()) - 1, depth + 1, stands, draft);
  }
}

}  // namespace foregate::testing_support
