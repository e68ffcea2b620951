// Tokens that may be read at one node of a rule, told apart once and for all: those that are valid whoever called the
// rule, and those for which the callers decide (they read past its end). The idea is XGrammar's (arXiv 2411.15100).
// Not thread-safe; its owner locks.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/grammar/lazy_states.h"
#include "engine/grammar/token_trie.h"

namespace foregate::grammar {

using Mask = std::vector<std::uint64_t>;  // bit by token id

struct NodeTokens {
  std::vector<std::int32_t> few;         // valid ids, when they are few
  Mask many;                             // else as bits; empty when they are few
  std::vector<std::uint32_t> dependent;  // nodes of the trie whose tokens the callers decide about
  bool known = true;                     // false: telling them apart would pass the limits
};

class NodeClasses {
 public:
  NodeClasses(const Automaton& automaton, const TokenTrie& trie, const GrammarLimits& limits);
  // Good until the next call; classified now when it was not before.
  const NodeTokens& of(NodeId node);
  // Classifies ahead of use until the limits say enough.
  void prepare();
  std::size_t bytes() const { return bytes_ + frames_->bytes(); }
  std::uint64_t visits() const { return visits_; }

 private:
  NodeTokens classify(NodeId node);
  const Automaton& automaton_;
  const TokenTrie& trie_;
  const GrammarLimits& limits_;
  std::unique_ptr<LazyStates> frames_;
  std::vector<std::unique_ptr<NodeTokens>> nodes_;
  NodeTokens last_;  // of a node that is not kept
  std::vector<StateId> path_;
  std::uint64_t visits_ = 0;
  std::size_t bytes_ = 0;
};

void set_bits(Mask& mask, std::span<const std::int32_t> ids);

}  // namespace foregate::grammar
