#include "engine/grammar/rule_graph.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "engine/grammar/utf8_ranges.h"

namespace foregate::grammar {
namespace {

constexpr std::size_t kInlineSize = 12;  // expressions

struct Raw {  // a state with edges that read nothing
  std::vector<ByteEdge> bytes;
  std::vector<RuleEdge> rules;
  std::vector<NodeId> empty;
};

class RawGraph {
 public:
  RawGraph(const Grammar& grammar, const std::vector<bool>& inlined, BuildBudget& budget)
      : grammar_(grammar), inlined_(inlined), budget_(budget) {}

  NodeId add() {
    states_.emplace_back();
    return static_cast<NodeId>(states_.size() - 1);
  }
  // Adds what `id` reads behind `from`; gives the state behind it. Depth is that of the grammar's expressions, which
  // its front ends bound.
  NodeId append(ExprId id, NodeId from) {
    if (!budget_.spend(1) || states_.size() > 4 * budget_.nodes) failed_ = true;
    if (failed_) return from;
    const Expr& expr = grammar_.expr(id);
    switch (expr.kind) {
      case Expr::Kind::kText: return append_text(expr.text, from);
      case Expr::Kind::kChars: return append_chars(expr.ranges, from);
      case Expr::Kind::kSequence:
        for (const ExprId part : expr.parts) from = append(part, from);
        return from;
      case Expr::Kind::kChoice: return append_choice(expr, from);
      case Expr::Kind::kRepeat: return append_repeat(expr, from);
      case Expr::Kind::kRule: break;
    }
    if (inlined_[expr.rule]) return append(grammar_.body(expr.rule), from);
    const NodeId to = add();
    states_[from].rules.push_back({expr.rule, to});
    return to;
  }
  bool failed() const { return failed_; }
  const std::vector<Raw>& states() const { return states_; }

 private:
  NodeId append_text(const std::string& text, NodeId from) {
    if (text.size() > budget_.nodes) failed_ = true;  // each byte of a text is a node of its own
    if (failed_) return from;
    for (const char c : text) {
      const NodeId to = add();
      const auto byte = static_cast<std::uint8_t>(c);
      states_[from].bytes.push_back({byte, byte, to});
      from = to;
    }
    return from;
  }
  NodeId append_chars(const std::vector<CodeRange>& ranges, NodeId from) {
    std::vector<ByteSequence> sequences;
    for (const CodeRange& range : ranges) append_sequences(range, sequences);
    const NodeId end = add();
    for (const ByteSequence& sequence : sequences) {
      NodeId at = from;
      for (int i = 0; i < sequence.length; ++i) {
        const NodeId to = i + 1 == sequence.length ? end : add();
        states_[at].bytes.push_back(
            {sequence.bytes[static_cast<std::size_t>(i)].low, sequence.bytes[static_cast<std::size_t>(i)].high, to});
        at = to;
      }
    }
    return end;
  }
  NodeId append_choice(const Expr& expr, NodeId from) {
    const NodeId end = add();
    for (const ExprId part : expr.parts) {
      const NodeId begin = add();
      states_[from].empty.push_back(begin);
      const NodeId last = append(part, begin);
      states_[last].empty.push_back(end);
      if (failed_) break;
    }
    return end;
  }
  NodeId append_repeat(const Expr& expr, NodeId from) {
    for (std::int32_t i = 0; i < expr.least && !failed_; ++i) from = append(expr.parts[0], from);
    const NodeId end = add();
    if (expr.most == kUnbounded) {
      const NodeId loop = add();
      states_[from].empty.push_back(loop);
      const NodeId last = append(expr.parts[0], loop);
      states_[last].empty.push_back(loop);
      states_[loop].empty.push_back(end);
      return end;
    }
    for (std::int32_t i = expr.least; i < expr.most && !failed_; ++i) {
      states_[from].empty.push_back(end);
      const NodeId begin = add();
      states_[from].empty.push_back(begin);
      from = append(expr.parts[0], begin);
    }
    states_[from].empty.push_back(end);
    return end;
  }

  const Grammar& grammar_;
  const std::vector<bool>& inlined_;
  BuildBudget& budget_;
  std::vector<Raw> states_;
  bool failed_ = false;
};

using StateSet = std::vector<NodeId>;  // ascending

// From sets of raw states to nodes. With `subsets` off each raw state keeps a node of its own.
class NodeMaker {
 public:
  NodeMaker(const std::vector<Raw>& raw, NodeId last, BuildBudget& budget)
      : raw_(raw), last_(last), budget_(budget), seen_(raw.size(), 0) {}

  // Empty when there would be more than `most` nodes; kInvalidArgument past the budget.
  Result<std::vector<Node>> make(bool subsets, std::size_t most) {
    ids_.clear();
    sets_.clear();
    std::vector<Node> nodes;
    if (!id_of({0})) return too_large();
    for (std::size_t i = 0; i < sets_.size(); ++i) {
      if (sets_.size() > most) return std::vector<Node>();
      Node node;
      node.final = std::binary_search(sets_[i].begin(), sets_[i].end(), last_);
      if (!(subsets ? merge_edges(StateSet(sets_[i]), node) : copy_edges(StateSet(sets_[i]), node))) return too_large();
      nodes.push_back(std::move(node));
    }
    return nodes;
  }

 private:
  std::optional<NodeId> id_of(StateSet states) {
    if (!close(states)) return std::nullopt;
    const auto [found, fresh] = ids_.try_emplace(states, static_cast<NodeId>(sets_.size()));
    if (fresh) sets_.push_back(std::move(states));
    return found->second;
  }
  bool close(StateSet& states) {
    ++round_;
    StateSet all;
    while (!states.empty()) {
      const NodeId state = states.back();
      states.pop_back();
      if (std::exchange(seen_[state], round_) == round_) continue;
      if (!budget_.spend(1 + raw_[state].empty.size())) return false;
      all.push_back(state);
      states.insert(states.end(), raw_[state].empty.begin(), raw_[state].empty.end());
    }
    // Only states that read, or the last one, tell sets apart.
    std::erase_if(all, [this](NodeId s) { return s != last_ && raw_[s].bytes.empty() && raw_[s].rules.empty(); });
    std::sort(all.begin(), all.end());
    states = std::move(all);
    return true;
  }
  bool copy_edges(const StateSet& states, Node& node) {
    for (const NodeId state : states) {
      for (const ByteEdge& edge : raw_[state].bytes) {
        const auto to = id_of({edge.to});
        if (!to) return false;
        node.bytes.push_back({edge.low, edge.high, *to});
      }
      for (const RuleEdge& edge : raw_[state].rules) {
        const auto to = id_of({edge.to});
        if (!to) return false;
        node.rules.push_back({edge.rule, *to});
      }
    }
    return true;
  }
  bool merge_edges(const StateSet& states, Node& node) {
    std::map<RuleId, StateSet> rules;
    std::vector<ByteEdge> edges;
    for (const NodeId state : states) {
      edges.insert(edges.end(), raw_[state].bytes.begin(), raw_[state].bytes.end());
      for (const RuleEdge& edge : raw_[state].rules) rules[edge.rule].push_back(edge.to);
    }
    for (auto& [rule, targets] : rules) {
      const auto to = id_of(std::move(targets));
      if (!to) return false;
      node.rules.push_back({rule, *to});
    }
    return merge_bytes(edges, node);
  }
  bool merge_bytes(const std::vector<ByteEdge>& edges, Node& node) {
    std::set<int> cuts;
    for (const ByteEdge& edge : edges) cuts.insert({edge.low, edge.high + 1});
    for (auto cut = cuts.begin(); cut != cuts.end(); ++cut) {
      const auto next = std::next(cut);
      if (next == cuts.end()) break;
      if (!budget_.spend(edges.size())) return false;
      StateSet targets;
      for (const ByteEdge& edge : edges) {
        if (edge.low <= *cut && *cut <= edge.high) targets.push_back(edge.to);
      }
      if (targets.empty()) continue;
      const auto to = id_of(std::move(targets));
      if (!to) return false;
      const auto low = static_cast<std::uint8_t>(*cut), high = static_cast<std::uint8_t>(*next - 1);
      if (!node.bytes.empty() && node.bytes.back().to == *to && node.bytes.back().high + 1 == low) {
        node.bytes.back().high = high;
      } else {
        node.bytes.push_back({low, high, *to});
      }
    }
    return true;
  }

  const std::vector<Raw>& raw_;
  const NodeId last_;
  BuildBudget& budget_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t round_ = 0;
  std::map<StateSet, NodeId> ids_;
  std::vector<StateSet> sets_;
};

// Expressions below `id`, counted to `most`; more when it refers to a rule.
std::size_t size_of(const Grammar& grammar, ExprId id, std::size_t most) {
  const Expr& expr = grammar.expr(id);
  if (expr.kind == Expr::Kind::kRule) return most + 1;
  std::size_t size = 1 + expr.text.size() + expr.ranges.size();
  for (const ExprId part : expr.parts) {
    if (size > most) break;
    size += size_of(grammar, part, most - size);
  }
  if (expr.kind == Expr::Kind::kRepeat) size *= static_cast<std::size_t>(std::max({1, expr.least, expr.most}));
  return size;
}

}  // namespace

Status too_large() {
  return invalid_argument("is too large or too deeply nested to be served");
}

std::vector<bool> inlined_rules(const Grammar& grammar) {
  std::vector<bool> inlined(grammar.rules(), false);
  for (RuleId id = 0; id < grammar.rules(); ++id) {
    if (id != grammar.root() && grammar.defined(id)) {
      inlined[id] = size_of(grammar, grammar.body(id), kInlineSize) <= kInlineSize;
    }
  }
  return inlined;
}

Result<std::vector<Node>> build_rule(const Grammar& grammar, RuleId id, const std::vector<bool>& inlined,
                                     BuildBudget& budget) {
  RawGraph raw(grammar, inlined, budget);
  const NodeId last = raw.append(grammar.body(id), raw.add());
  if (raw.failed()) return too_large();
  NodeMaker maker(raw.states(), last, budget);
  ASSIGN_OR_RETURN(std::vector<Node> nodes, maker.make(true, 256 + 4 * raw.states().size()));
  if (nodes.empty()) {
    ASSIGN_OR_RETURN(nodes, maker.make(false, raw.states().size()));
  }
  if (nodes.empty() || nodes.size() > budget.nodes) return too_large();
  budget.nodes -= nodes.size();
  for (Node& node : nodes) node.rule = id;
  return nodes;
}

}  // namespace foregate::grammar
