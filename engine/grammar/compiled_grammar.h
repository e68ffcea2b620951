// A grammar ready to hold samples to it: the automaton, what is known of its nodes, and the masks of situations that
// came up. Shared by all requests that ask for the same grammar; thread-safe by one lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "engine/api/constraint.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/node_tokens.h"
#include "engine/grammar/token_trie.h"

namespace foregate::grammar {

// Counts of all grammars of a compiler; any thread.
struct MaskFigures {
  std::atomic<std::uint64_t> computed{0};
  std::atomic<std::uint64_t> reused{0};
};

class CompiledGrammar final : public TokenConstraint, public std::enable_shared_from_this<CompiledGrammar> {
 public:
  // `figures` may be null. Classifies tokens as far as the limits allow: a worker's work.
  CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie, const GrammarLimits& limits,
                  std::shared_ptr<MaskFigures> figures);
  std::unique_ptr<ConstraintState> start() const override;
  std::size_t bytes() const;  // memory held now, roughly
  std::size_t nodes() const { return automaton_.nodes.size(); }

 private:
  friend class GrammarState;
  // What grows while texts are read; a new one takes over before it is full.
  struct Tables {
    Tables(const Automaton& automaton, const GrammarLimits& limits) : states(automaton, limits) {}
    LazyStates states;
    std::unordered_map<StateId, std::shared_ptr<const Mask>> masks;
  };
  // With the lock held.
  Result<std::shared_ptr<const Mask>> mask_of(Tables& tables, StateId state) const;
  Result<Mask> make_mask(Tables& tables, StateId state) const;
  Status add_leaving(Tables& tables, std::span<const Item> items, const LeavingTokens& tokens, Mask& mask) const;
  Status add_all(Tables& tables, StateId from, Mask& mask) const;

  const GrammarLimits limits_;
  const Automaton automaton_;
  const std::shared_ptr<const TokenTrie> trie_;
  const std::shared_ptr<MaskFigures> figures_;
  mutable std::mutex mutex_;
  mutable NodeClasses classes_;
  mutable std::shared_ptr<Tables> tables_;
};

}  // namespace foregate::grammar
