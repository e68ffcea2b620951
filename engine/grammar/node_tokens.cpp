#include "engine/grammar/node_tokens.h"

#include <utility>

namespace foregate::grammar {

void set_bits(Mask& mask, std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) {
    const auto bit = static_cast<std::size_t>(id);
    mask[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
}

NodeClasses::NodeClasses(const Automaton& automaton, const TokenTrie& trie, const GrammarLimits& limits)
    : automaton_(automaton),
      trie_(trie),
      limits_(limits),
      frames_(std::make_unique<LazyStates>(automaton, limits)),
      nodes_(automaton.nodes.size()),
      path_(trie.depth() + 1) {}

const NodeTokens& NodeClasses::of(NodeId node) {
  if (nodes_[node] != nullptr) return *nodes_[node];
  NodeTokens made = classify(node);
  const std::size_t size = sizeof(made) + made.few.capacity() * sizeof(made.few[0]) +
                           made.many.capacity() * sizeof(made.many[0]) +
                           made.dependent.capacity() * sizeof(made.dependent[0]);
  if (bytes_ + size > limits_.classified_bytes) {
    last_ = std::move(made);
    return last_;
  }
  bytes_ += size;
  nodes_[node] = std::make_unique<NodeTokens>(std::move(made));
  return *nodes_[node];
}

void NodeClasses::prepare() {
  for (NodeId node = 0; node < nodes_.size(); ++node) {
    if (visits_ > limits_.prepare_visits || bytes_ > limits_.classified_bytes / 2) return;
    if (!automaton_.nodes[node].bytes.empty()) of(node);
  }
}

NodeTokens NodeClasses::classify(NodeId node) {
  if (frames_->half_full()) frames_ = std::make_unique<LazyStates>(automaton_, limits_);
  NodeTokens made;
  path_[0] = frames_->frame(node);
  for (std::uint32_t i = 1; i < trie_.size();) {
    const TokenTrie::Node& at = trie_.node(i);
    const StateId state = frames_->step(path_[at.depth - 1u], at.byte);
    ++visits_;
    if (state == kOverflow) {
      made = {};
      made.known = false;
      return made;
    }
    if (state == kDead) {
      i = at.end;
      continue;
    }
    const auto tokens = trie_.tokens(i);
    if (!tokens.empty()) {
      if (frames_->state(state).certain) {
        made.few.insert(made.few.end(), tokens.begin(), tokens.end());
      } else {
        made.dependent.push_back(i);
      }
    }
    path_[at.depth] = state;
    ++i;
  }
  if (made.few.size() > 2 * trie_.mask_words()) {
    made.many.assign(trie_.mask_words(), 0);
    set_bits(made.many, made.few);
    made.few = {};
  }
  made.few.shrink_to_fit();
  made.dependent.shrink_to_fit();
  return made;
}

}  // namespace foregate::grammar
