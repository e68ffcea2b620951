#include "engine/grammar/lazy_states.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace foregate::grammar {
namespace {

std::uint64_t word(const Item& item) {
  return static_cast<std::uint64_t>(item.node) << 32 | item.stack;
}

std::size_t mix(std::size_t hash, std::uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ULL + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdULL;
}

std::size_t hash_of(const State& state) {
  std::size_t hash = (state.ends ? 1u : 0u) + (state.leaves ? 2u : 0u);
  for (const Item& item : state.items) hash = mix(hash, word(item));
  return hash;
}

}  // namespace

LazyStates::LazyStates(const Automaton& automaton, const GrammarLimits& limits)
    : automaton_(automaton), limits_(limits) {
  states_.resize(2);
  states_[kDead].next.assign(automaton.classes(), kDead);
  states_[kOverflow].next.assign(automaton.classes(), kOverflow);
  stacks_.resize(3);
  by_hash_.emplace(hash_of(states_[kDead]), kDead);
}

StateId LazyStates::start() {
  if (!std::exchange(started_, true)) start_ = close({{automaton_.starts[automaton_.root], kWhole}});
  return start_;
}

StateId LazyStates::frame(NodeId node) {
  State state;
  state.items = {{node, kFrame}};
  return intern(std::move(state));
}

StateId LazyStates::behind(RuleId rule) {
  std::vector<Item> open;
  for (const NodeId back : automaton_.returns[rule]) open.push_back({back, kAnyCaller});
  return close(std::move(open));
}

StateId LazyStates::behind(std::span<const Item> items) {
  std::vector<Item> open;
  for (const Item& item : items) {
    if (item.stack > kAnyCaller) open.push_back({stacks_[item.stack].back, stacks_[item.stack].below});
  }
  return close(std::move(open));
}

StateId LazyStates::find_step(StateId from, std::uint8_t byte_class) {
  const std::uint8_t byte = automaton_.class_byte[byte_class];
  std::vector<Item> open;
  for (const Item& item : states_[from].items) {
    for (const ByteEdge& edge : automaton_.nodes[item.node].bytes) {
      if (edge.low <= byte && byte <= edge.high) open.push_back({edge.to, item.stack});
    }
  }
  const StateId to = close(std::move(open));
  states_[from].next[byte_class] = to;
  return to;
}

// Everything that can be reached without reading. What reads nothing itself is dropped.
StateId LazyStates::close(std::vector<Item> open) {
  State state;
  std::unordered_set<std::uint64_t> seen;
  while (!open.empty()) {
    const Item item = open.back();
    open.pop_back();
    if (!seen.insert(word(item)).second) continue;
    if (seen.size() > 4 * limits_.items || !expand(item, state, open)) return kOverflow;
  }
  if (state.items.size() > limits_.items) return kOverflow;
  std::sort(state.items.begin(), state.items.end());
  return intern(std::move(state));
}

bool LazyStates::expand(Item item, State& state, std::vector<Item>& open) {
  const Node& node = automaton_.nodes[item.node];
  if (!node.bytes.empty()) state.items.push_back(item);
  for (const RuleEdge& edge : node.rules) {
    // A rule at the very end of another returns to where that one does: lists do not deepen the stack.
    StackId stack = item.stack;
    if (!automaton_.nodes[edge.to].returns_only()) {
      if (stacks_.size() >= limits_.stacks) return false;
      stack = push(edge.to, item.stack);
    }
    open.push_back({automaton_.starts[edge.rule], stack});
  }
  if (node.final) leave(item, state, open);
  return true;
}

void LazyStates::leave(Item item, State& state, std::vector<Item>& open) {
  if (item.stack == kWhole) {
    state.ends = true;
  } else if (item.stack > kAnyCaller) {
    open.push_back({stacks_[item.stack].back, stacks_[item.stack].below});
  } else if (item.stack == kFrame) {
    state.leaves = true;
  } else {
    if (automaton_.nodes[item.node].rule == automaton_.root) state.ends = true;
    for (const NodeId back : automaton_.returns[automaton_.nodes[item.node].rule]) open.push_back({back, kAnyCaller});
  }
}

StackId LazyStates::push(NodeId back, StackId below) {
  const std::uint64_t key = static_cast<std::uint64_t>(back) << 32 | below;
  const auto [found, fresh] = by_stack_.try_emplace(key, static_cast<StackId>(stacks_.size()));
  if (fresh) {
    stacks_.push_back({back, below});
    bytes_ += sizeof(Stack) + 48;
  }
  return found->second;
}

StateId LazyStates::intern(State state) {
  const std::size_t hash = hash_of(state);
  const auto [first, last] = by_hash_.equal_range(hash);
  for (auto known = first; known != last; ++known) {
    const State& other = states_[known->second];
    if (other.items == state.items && other.ends == state.ends && other.leaves == state.leaves) return known->second;
  }
  if (states_.size() >= limits_.states) return kOverflow;
  state.next.assign(automaton_.classes(), kUnknownStep);
  bytes_ += sizeof(State) + state.items.size() * sizeof(Item) + state.next.size() * sizeof(StateId) + 64;
  states_.push_back(std::move(state));
  by_hash_.emplace(hash, static_cast<StateId>(states_.size() - 1));
  return static_cast<StateId>(states_.size() - 1);
}

}  // namespace foregate::grammar
