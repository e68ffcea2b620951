// The automaton run on demand: a state is a set of (node, stack) pairs, states and stacks are remembered once and named
// by number, and so are steps between them. As lazy determinization does for regular expressions, here with stacks.
// Not thread-safe; its owner locks.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/limits.h"

namespace foregate::grammar {

using StateId = std::uint32_t;
using StackId = std::uint32_t;

inline constexpr StateId kDead = 0;      // nothing more can be read
inline constexpr StateId kOverflow = 1;  // past the limits: not known what can be read
// Stacks that hold nothing that is known. Behind kWhole the text may end; below kFrame is whatever called the rule, and
// nothing is read behind its end; on kAnyCaller is read what any caller may go on with.
inline constexpr StackId kWhole = 0;
inline constexpr StackId kFrame = 1;
inline constexpr StackId kAnyCaller = 2;

struct Item {
  NodeId node = 0;
  StackId stack = 0;
  friend bool operator==(const Item&, const Item&) = default;
  friend auto operator<=>(const Item&, const Item&) = default;
};

struct State {
  std::vector<Item> items;    // ascending; every node reads a byte
  bool ends = false;          // the text may end here; on kAnyCaller: for some caller
  bool leaves = false;        // of states over kFrame: the rule may end here
  std::vector<StateId> next;  // by byte class; kUnknownStep where not asked for yet
};

class LazyStates {
 public:
  LazyStates(const Automaton& automaton, const GrammarLimits& limits);
  StateId start();
  // A state that holds one node of a rule whose caller is not known.
  StateId frame(NodeId node);
  // A state behind the end of a rule whose caller is not known: all that any of them may go on with.
  StateId behind(RuleId rule);
  // Where the rules of these items return to.
  StateId behind(std::span<const Item> items);
  StateId step(StateId state, std::uint8_t byte) {
    const StateId known = states_[state].next[automaton_.byte_class[byte]];
    return known != kUnknownStep ? known : find_step(state, automaton_.byte_class[byte]);
  }
  const State& state(StateId id) const { return states_[id]; }
  std::size_t states() const { return states_.size(); }
  std::size_t bytes() const { return bytes_; }
  // No more than this is remembered; whoever starts a text then starts it in new tables.
  bool half_full() const { return states_.size() > limits_.states / 2 || stacks_.size() > limits_.stacks / 2; }

 private:
  static constexpr StateId kUnknownStep = 0xffffffff;
  struct Stack {
    NodeId back = 0;  // where to go on
    StackId below = 0;
  };
  StateId find_step(StateId from, std::uint8_t byte_class);
  StateId close(std::vector<Item> open);
  bool expand(Item item, State& state, std::vector<Item>& open);
  void leave(Item item, State& state, std::vector<Item>& open);
  StateId intern(State state);
  StackId push(NodeId back, StackId below);

  const Automaton& automaton_;
  const GrammarLimits& limits_;
  std::vector<State> states_;
  std::unordered_multimap<std::size_t, StateId> by_hash_;
  std::vector<Stack> stacks_;
  std::unordered_map<std::uint64_t, StackId> by_stack_;
  std::size_t bytes_ = 0;
  StateId start_ = kDead;
  bool started_ = false;
};

}  // namespace foregate::grammar
