// Drafts as trees that know the answers: at every node that an answer reaches, the right token has a random rank or is
// missing; elsewhere nothing is right. So branches of every kind stand and fall.
#pragma once

#include <map>
#include <vector>

#include "engine/base/rng.h"
#include "engine/spec/drafter.h"
#include "engine/spec/token_tree.h"
#include "tests/engine/runtime/harness.h"

namespace foregate::testing_support {

TreeShape wide_tree();  // 11 nodes, four deep

class TreeOracle final : public Drafter {
 public:
  // `answers` by request, of sample 0.
  TreeOracle(const std::vector<Request>& requests, const std::vector<SampleLog>& answers, std::int32_t vocab);
  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override;

 private:
  void grow(const DraftAsk& ask, std::int32_t node, std::int32_t at, std::size_t depth, bool right, Draft& draft);

  const std::int32_t vocab_;
  std::map<std::uint64_t, std::vector<Token>> answers_;
  std::map<std::uint64_t, std::size_t> prompts_;
};

}  // namespace foregate::testing_support
