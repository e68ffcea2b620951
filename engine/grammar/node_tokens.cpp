#include "engine/grammar/node_tokens.h"

#include <algorithm>
#include <utility>

#include "engine/grammar/leaving_sorter.h"

namespace foregate::grammar {

void set_bits(Mask& mask, std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) {
    const auto bit = static_cast<std::size_t>(id);
    mask[bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
}

void set_bits(Mask& mask, const Mask& others) {
  for (std::size_t w = 0; w < others.size(); ++w) mask[w] |= others[w];
}

std::size_t LeavingTokens::bytes() const {
  return sizeof(*this) + rests.capacity() * sizeof(Rest) + alike.capacity() * sizeof(Alike) +
         asked.capacity() * sizeof(asked[0]) + ids.capacity() * sizeof(ids[0]) +
         masks.size() * (sizeof(Mask) + (masks.empty() ? 0 : masks[0].size() * sizeof(masks[0][0])));
}

std::size_t NodeTokens::bytes() const {
  return sizeof(*this) + few.capacity() * sizeof(few[0]) + many.capacity() * sizeof(many[0]) +
         (leaving == nullptr ? 0 : leaving->bytes());
}

NodeClasses::NodeClasses(const Automaton& automaton, const TokenTrie& trie, const GrammarLimits& limits)
    : automaton_(automaton),
      trie_(trie),
      limits_(limits),
      frames_(std::make_unique<LazyStates>(automaton, limits)),
      nodes_(automaton.nodes.size()),
      path_(trie.depth() + 1),
      exits_(trie.depth() + 1) {}

const NodeTokens& NodeClasses::of(NodeId node) {
  if (nodes_[node] != nullptr) return *nodes_[node];
  NodeTokens made = classify(node);
  const std::size_t size = made.bytes();
  if (bytes_ + size > limits_.classified_bytes) {
    last_ = std::move(made);
    return last_;
  }
  bytes_ += size;
  nodes_[node] = std::make_unique<NodeTokens>(std::move(made));
  return *nodes_[node];
}

void NodeClasses::prepare() {
  const std::uint64_t most = std::min(limits_.prepare_visits, limits_.prepare_walks * trie_.size());
  for (NodeId node = 0; node < nodes_.size(); ++node) {
    if (visits_ > most || bytes_ > limits_.classified_bytes / 2) return;
    if (!automaton_.nodes[node].bytes.empty()) of(node);
  }
}

NodeTokens NodeClasses::classify(NodeId node) {
  if (frames_->half_full()) {
    frames_ = std::make_unique<LazyStates>(automaton_, limits_);
    outside_.clear();
  }
  NodeTokens made;
  if (walk(node, made)) return made;
  made = {};
  made.known = false;
  return made;
}

// Walks all tokens from the node, its rule's caller unknown; those that neither stay within the rule nor go on with
// what a caller takes are none. False past the limits.
bool NodeClasses::walk(NodeId node, NodeTokens& made) {
  LeavingSorter leaving(trie_);
  path_[0] = frames_->frame(node);
  for (std::uint32_t i = 1; i < trie_.size();) {
    const TokenTrie::Node& at = trie_.node(i);
    const StateId inside = path_[at.depth] = frames_->step(path_[at.depth - 1u], at.byte);
    ++visits_;
    if (inside == kOverflow || !find_exits(at, automaton_.nodes[node].rule)) return false;
    const std::vector<Exit>& exits = exits_[at.depth];
    if (inside == kDead && exits.empty()) {
      i = at.end;
      continue;
    }
    const auto tokens = trie_.tokens(i++);
    if (inside != kDead) {
      made.few.insert(made.few.end(), tokens.begin(), tokens.end());
    } else if (!tokens.empty()) {
      offsets_.clear();
      for (const Exit& exit : exits) offsets_.push_back(exit.offset);
      for (const std::int32_t token : tokens) leaving.add(token, offsets_);
    }
  }
  if (made.few.size() > 2 * trie_.mask_words()) {
    made.many.assign(trie_.mask_words(), 0);
    set_bits(made.many, made.few);
    made.few = {};
  }
  made.few.shrink_to_fit();
  made.leaving = leaving.sorted();
  return true;
}

// Where a token that reaches this node of the trie may have left the rule before its last byte. False past the limits.
bool NodeClasses::find_exits(const TokenTrie::Node& at, RuleId rule) {
  std::vector<Exit>& exits = exits_[at.depth];
  exits.clear();
  const auto before = static_cast<std::uint16_t>(at.depth - 1);
  const auto go_on = [&](std::uint16_t offset, StateId from) {
    const StateId state = frames_->step(from, at.byte);
    ++visits_;
    if (state != kDead) exits.push_back({offset, state});
    return state != kOverflow;
  };
  for (const Exit& exit : exits_[before]) {
    if (!go_on(exit.offset, exit.outside)) return false;
  }
  return before == 0 || !frames_->state(path_[before]).leaves || go_on(before, outside(rule));
}

// What any caller of the rule goes on with behind it.
StateId NodeClasses::outside(RuleId rule) {
  const auto known = outside_.find(rule);
  return known != outside_.end() ? known->second : find_outside(rule, 0).value_or(kOverflow);
}

// A rule that others end with is left as those are. Followed so far only that a long row of such rules costs little:
// where it is a circle, or deep, the states find the same by themselves. Empty within a circle.
std::optional<StateId> NodeClasses::find_outside(RuleId rule, int depth) {
  constexpr int kDeepest = 100;
  const auto known = outside_.find(rule);
  if (known != outside_.end()) return known->second == kOverflow ? std::nullopt : std::optional(known->second);
  outside_[rule] = kOverflow;
  std::optional<StateId> shared;
  bool same = depth < kDeepest && !automaton_.returns[rule].empty();
  for (const NodeId back : automaton_.returns[rule]) {
    if (!same) break;
    const auto there =
        automaton_.nodes[back].returns_only() ? find_outside(automaton_.nodes[back].rule, depth + 1) : std::nullopt;
    same = there.has_value() && (!shared || *shared == *there);
    shared = there;
  }
  return outside_[rule] = same ? *shared : frames_->behind(rule);
}

}  // namespace foregate::grammar
