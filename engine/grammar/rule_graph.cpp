#include "engine/grammar/rule_graph.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "engine/grammar/utf8_ranges.h"

namespace foregate::grammar {
namespace {

constexpr std::size_t kInlineSize = 12;  // expressions
constexpr std::size_t kRawPerNode = 3;   // states of a rule before they are merged, for each node that there may be

constexpr std::uint32_t kNone = 0xffffffff;
constexpr std::uint64_t kTooMany = std::uint64_t{1} << 40;

// What an expression stands for in states, counted before any of them is made.
class StateCount {
 public:
  StateCount(const Grammar& grammar, const std::vector<bool>& inlined) : grammar_(grammar), inlined_(inlined) {}
  std::uint64_t of(ExprId id) {
    const auto known = counts_.find(id);
    if (known != counts_.end()) return known->second;
    const std::uint64_t count = std::min(counted(grammar_.expr(id)), kTooMany);
    const Expr::Kind kind = grammar_.expr(id).kind;
    const bool leaf = kind == Expr::Kind::kText || kind == Expr::Kind::kChars || kind == Expr::Kind::kRule;
    if (!leaf) counts_.emplace(id, count);
    return count;
  }

 private:
  std::uint64_t counted(const Expr& expr) {
    std::uint64_t count = 1;
    switch (expr.kind) {
      case Expr::Kind::kText: return expr.text.size();
      case Expr::Kind::kChars: {
        std::vector<ByteSequence> sequences;
        for (const CodeRange& range : expr.ranges) append_sequences(range, sequences);
        for (const ByteSequence& sequence : sequences) count += static_cast<std::uint64_t>(sequence.length - 1);
        return count;
      }
      case Expr::Kind::kSequence:
      case Expr::Kind::kChoice: {
        const std::uint64_t own = expr.kind == Expr::Kind::kChoice ? 1 : 0;
        for (const ExprId part : expr.parts) count = std::min(count + own + of(part), kTooMany);
        return count - 1 + own;
      }
      case Expr::Kind::kRepeat: {
        const std::uint64_t one = of(expr.parts[0]), least = static_cast<std::uint64_t>(expr.least);
        const std::uint64_t more = expr.most == kUnbounded ? 1 : static_cast<std::uint64_t>(expr.most) - least;
        return std::min(least * one, kTooMany) + 1 + std::min(more * (1 + one), kTooMany);
      }
      case Expr::Kind::kRule: break;
    }
    return inlined_[expr.rule] ? of(grammar_.body(expr.rule)) : 1;
  }
  const Grammar& grammar_;
  const std::vector<bool>& inlined_;
  std::unordered_map<ExprId, std::uint64_t> counts_;
};

// States with edges that read a byte, enter a rule or read nothing; edges of a state are a list through one array.
class RawGraph {
 public:
  struct Edge {
    NodeId to = 0;
    std::uint32_t next = kNone;
    std::uint32_t what = 0;  // the rule that it enters; the byte that it reads, lowest and highest: low << 8 | high
    std::uint8_t low() const { return static_cast<std::uint8_t>(what >> 8); }
    std::uint8_t high() const { return static_cast<std::uint8_t>(what); }
  };
  RawGraph(const Grammar& grammar, const std::vector<bool>& inlined, BuildBudget& budget)
      : grammar_(grammar), inlined_(inlined), budget_(budget) {}

  // The state behind all of `body`, the first being 0; none past the budget, and then nothing was made.
  std::optional<NodeId> build(ExprId body) {
    const std::uint64_t states = 1 + StateCount(grammar_, inlined_).of(body);
    if (states > kRawPerNode * budget_.nodes) return std::nullopt;
    for (auto& first : first_) first.reserve(static_cast<std::size_t>(states));
    edges_.reserve(static_cast<std::size_t>(states + states / 4));
    const NodeId last = append(body, add());
    return failed_ ? std::nullopt : std::optional<NodeId>(last);
  }
  std::size_t size() const { return first_[kBytes].size(); }
  std::size_t reading() const {
    std::size_t count = 0;
    for (NodeId state = 0; state < size(); ++state) count += reads(state) ? 1 : 0;
    return count;
  }
  bool reads(NodeId state) const { return first_[kBytes][state] != kNone || first_[kRules][state] != kNone; }
  template <typename Visit>
  void bytes(NodeId state, Visit visit) const {
    each(first_[kBytes][state], visit);
  }
  template <typename Visit>
  void rules(NodeId state, Visit visit) const {
    each(first_[kRules][state], visit);
  }
  template <typename Visit>
  void empty(NodeId state, Visit visit) const {
    each(first_[kEmpty][state], visit);
  }

 private:
  enum EdgeKind { kBytes, kRules, kEmpty };
  template <typename Visit>
  void each(std::uint32_t edge, Visit visit) const {
    for (; edge != kNone; edge = edges_[edge].next) visit(edges_[edge]);
  }
  NodeId add() {
    for (auto& first : first_) first.push_back(kNone);
    return static_cast<NodeId>(size() - 1);
  }
  void connect(EdgeKind kind, NodeId from, Edge edge) {
    edge.next = std::exchange(first_[kind][from], static_cast<std::uint32_t>(edges_.size()));
    edges_.push_back(edge);
  }
  void connect(NodeId from, NodeId to) { connect(kEmpty, from, {.to = to}); }
  // Adds what `id` reads behind `from`; gives the state behind it. Depth is that of the grammar's expressions, which
  // its front ends bound.
  NodeId append(ExprId id, NodeId from) {
    if (!budget_.spend(1)) failed_ = true;
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
    connect(kRules, from, {.to = to, .what = expr.rule});
    return to;
  }
  NodeId append_text(const std::string& text, NodeId from) {
    for (const char c : text) {
      const NodeId to = add();
      const auto byte = static_cast<std::uint8_t>(c);
      connect(kBytes, from, {.to = to, .what = byte * 257u});
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
        const auto& bytes = sequence.bytes[static_cast<std::size_t>(i)];
        connect(kBytes, at, {.to = to, .what = bytes.low * 256u + bytes.high});
        at = to;
      }
    }
    return end;
  }
  NodeId append_choice(const Expr& expr, NodeId from) {
    const NodeId end = add();
    for (const ExprId part : expr.parts) {
      const NodeId begin = add();
      connect(from, begin);
      connect(append(part, begin), end);
      if (failed_) break;
    }
    return end;
  }
  NodeId append_repeat(const Expr& expr, NodeId from) {
    for (std::int32_t i = 0; i < expr.least && !failed_; ++i) from = append(expr.parts[0], from);
    const NodeId end = add();
    if (expr.most == kUnbounded) {
      const NodeId loop = add();
      connect(from, loop);
      connect(append(expr.parts[0], loop), loop);
      connect(loop, end);
      return end;
    }
    for (std::int32_t i = expr.least; i < expr.most && !failed_; ++i) {
      connect(from, end);
      const NodeId begin = add();
      connect(from, begin);
      from = append(expr.parts[0], begin);
    }
    connect(from, end);
    return end;
  }

  const Grammar& grammar_;
  const std::vector<bool>& inlined_;
  BuildBudget& budget_;
  std::array<std::vector<std::uint32_t>, 3> first_;  // by kind, by state: its edge added last
  std::vector<Edge> edges_;
  bool failed_ = false;
};

using StateSet = std::vector<NodeId>;  // ascending

// Sets of states, each kept once and named by number.
class KnownSets {
 public:
  std::size_t size() const { return begins_.size() - 1; }
  std::size_t elements() const { return elements_.size(); }
  StateSet set(NodeId id) const {
    return StateSet(elements_.begin() + begins_[id], elements_.begin() + begins_[id + 1]);
  }
  NodeId id_of(const StateSet& states) {
    if (2 * size() >= slots_.size()) grow();
    for (std::size_t at = place(states.data(), states.size());; at = (at + 1) % slots_.size()) {
      if (slots_[at] == kNone) {
        slots_[at] = static_cast<NodeId>(size());
        elements_.insert(elements_.end(), states.begin(), states.end());
        begins_.push_back(static_cast<std::uint32_t>(elements_.size()));
        return slots_[at];
      }
      const std::uint32_t begin = begins_[slots_[at]], end = begins_[slots_[at] + 1u];
      if (end - begin == states.size() && std::equal(states.begin(), states.end(), elements_.begin() + begin))
        return slots_[at];
    }
  }

 private:
  std::size_t place(const NodeId* states, std::size_t count) const {
    std::uint64_t hash = count;
    for (std::size_t i = 0; i < count; ++i) hash = (hash ^ states[i]) * 0xff51afd7ed558ccdULL ^ hash >> 31;
    return (hash ^ hash >> 33) % slots_.size();
  }
  void grow() {
    slots_.assign(std::max<std::size_t>(64, 2 * slots_.size()), kNone);
    for (NodeId id = 0; id < size(); ++id) {
      std::size_t at = place(elements_.data() + begins_[id], begins_[id + 1] - begins_[id]);
      while (slots_[at] != kNone) at = (at + 1) % slots_.size();
      slots_[at] = id;
    }
  }
  std::vector<NodeId> elements_;
  std::vector<std::uint32_t> begins_ = {0};
  std::vector<NodeId> slots_;
};

// From sets of raw states to nodes. With `subsets` off each raw state keeps a node of its own.
class NodeMaker {
 public:
  NodeMaker(const RawGraph& raw, NodeId last, BuildBudget& budget)
      : raw_(raw), last_(last), budget_(budget), seen_(raw.size(), 0) {}

  // Empty when there would be more than `most` nodes; kInvalidArgument past the budget.
  Result<std::vector<Node>> make(bool subsets, std::size_t most) {
    sets_ = {};
    std::vector<Node> nodes;
    nodes.reserve(std::min(most, raw_.size()));
    if (!id_of({0})) return too_large();
    for (NodeId i = 0; i < sets_.size(); ++i) {
      if (sets_.elements() > budget_.elements) return too_large();
      if (sets_.size() > most) return std::vector<Node>();
      Node node;
      const StateSet states = sets_.set(i);
      node.final = std::binary_search(states.begin(), states.end(), last_);
      if (!(subsets ? merge_edges(states, node) : copy_edges(states, node))) return too_large();
      node.bytes.shrink_to_fit();
      nodes.push_back(std::move(node));
    }
    return nodes;
  }

 private:
  std::optional<NodeId> id_of(StateSet states) {
    if (!close(states)) return std::nullopt;
    return sets_.id_of(states);
  }
  bool close(StateSet& states) {
    ++round_;
    StateSet all;
    while (!states.empty()) {
      const NodeId state = states.back();
      states.pop_back();
      if (std::exchange(seen_[state], round_) == round_) continue;
      const std::size_t before = states.size();
      raw_.empty(state, [&states](const RawGraph::Edge& edge) { states.push_back(edge.to); });
      if (!budget_.spend(1 + states.size() - before)) return false;
      // Only states that read, or the last one, tell sets apart.
      if (state == last_ || raw_.reads(state)) all.push_back(state);
    }
    std::sort(all.begin(), all.end());
    states = std::move(all);
    return true;
  }
  bool copy_edges(const StateSet& states, Node& node) {
    bool good = true;
    for (const NodeId state : states) {
      raw_.bytes(state, [&](const RawGraph::Edge& edge) {
        const auto to = good ? id_of({edge.to}) : std::nullopt;
        good = to.has_value();
        if (good) node.bytes.push_back({edge.low(), edge.high(), *to});
      });
      raw_.rules(state, [&](const RawGraph::Edge& edge) {
        const auto to = good ? id_of({edge.to}) : std::nullopt;
        good = to.has_value();
        if (good) node.rules.push_back({edge.what, *to});
      });
    }
    return good;
  }
  bool merge_edges(const StateSet& states, Node& node) {
    std::map<RuleId, StateSet> rules;
    std::vector<ByteEdge> edges;
    for (const NodeId state : states) {
      raw_.bytes(state, [&edges](const RawGraph::Edge& edge) { edges.push_back({edge.low(), edge.high(), edge.to}); });
      raw_.rules(state, [&rules](const RawGraph::Edge& edge) { rules[edge.what].push_back(edge.to); });
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

  const RawGraph& raw_;
  const NodeId last_;
  BuildBudget& budget_;
  std::vector<std::uint32_t> seen_;
  std::uint32_t round_ = 0;
  KnownSets sets_;
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
  const auto last = raw.build(grammar.body(id));
  if (!last) return too_large();
  NodeMaker maker(raw, *last, budget);
  ASSIGN_OR_RETURN(std::vector<Node> nodes, maker.make(true, std::min(256 + 4 * raw.size(), budget.nodes)));
  if (nodes.empty() && raw.reading() <= budget.nodes) {
    ASSIGN_OR_RETURN(nodes, maker.make(false, std::min(raw.size(), budget.nodes)));
  }
  if (nodes.empty()) return too_large();
  budget.nodes -= nodes.size();
  for (Node& node : nodes) node.rule = id;
  return nodes;
}

}  // namespace foregate::grammar
