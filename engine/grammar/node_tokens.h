// Tokens that may be read at one node of a rule, told apart once and for all: those that are valid whoever called the
// rule, and those that go on behind its end, for which the callers decide. The idea is XGrammar's (arXiv 2411.15100);
// here what lies behind the end is kept too, so that a caller decides once for all tokens that go on alike: in a JSON
// string thousands of tokens end with `",`, and only the comma is asked about.
// Not thread-safe; its owner locks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/grammar/lazy_states.h"
#include "engine/grammar/token_trie.h"

namespace foregate::grammar {

using Mask = std::vector<std::uint64_t>;  // bit by token id

// Tokens that go on behind the end of a rule, by what they go on with.
struct LeavingTokens {
  struct Rest {                // what a token goes on with
    std::int32_t token = 0;    // one of those that do
    std::uint16_t offset = 0;  // bytes of it before the rest
    std::uint16_t shared = 0;  // bytes that the rest before this one begins with as well
  };
  struct Alike {  // tokens with the same rests; the ranges end where those of the next one begin
    std::uint32_t rests = 0;
    std::uint32_t ids = 0;
    std::int32_t mask = -1;  // index of the tokens as bits, in place of ids, when they are many
  };
  std::vector<Rest> rests;           // ascending, each once
  std::vector<Alike> alike;          // with one behind the last
  std::vector<std::uint32_t> asked;  // indices of rests; one that can be read is enough
  std::vector<std::int32_t> ids;
  std::vector<Mask> masks;
  std::size_t bytes() const;  // memory, roughly
};

struct NodeTokens {
  std::vector<std::int32_t> few;           // valid ids, when they are few
  Mask many;                               // else as bits; empty when they are few
  std::unique_ptr<LeavingTokens> leaving;  // null when there are none
  bool known = true;                       // false: telling them apart would pass the limits
  std::size_t bytes() const;               // memory, roughly
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
  std::size_t situations() const { return frames_->states(); }  // that were told apart for it

 private:
  struct Exit {  // a token left the rule after so many bytes; what callers make of the bytes since
    std::uint16_t offset;
    StateId outside;
  };
  NodeTokens classify(NodeId node);
  bool walk(NodeId node, NodeTokens& made);
  bool find_exits(const TokenTrie::Node& at, RuleId rule);
  StateId outside(RuleId rule);
  std::optional<StateId> find_outside(RuleId rule, int depth);
  const Automaton& automaton_;
  const TokenTrie& trie_;
  const GrammarLimits& limits_;
  std::unique_ptr<LazyStates> frames_;
  std::vector<std::unique_ptr<NodeTokens>> nodes_;
  NodeTokens last_;                       // of a node that is not kept
  std::vector<StateId> path_;             // by bytes of the token that is looked at
  std::vector<std::vector<Exit>> exits_;  // likewise
  std::vector<std::uint16_t> offsets_;
  std::unordered_map<RuleId, StateId> outside_;  // of frames_; kOverflow while it is looked for
  std::uint64_t visits_ = 0;
  std::size_t bytes_ = 0;
};

void set_bits(Mask& mask, std::span<const std::int32_t> ids);
void set_bits(Mask& mask, const Mask& others);

}  // namespace foregate::grammar
