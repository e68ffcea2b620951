#include "engine/grammar/automaton.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "engine/grammar/rule_graph.h"

namespace foregate::grammar {
namespace {

std::string shown(const Grammar& grammar, RuleId id) {
  const std::string& name = grammar.name(id);
  return name.empty() ? "a rule" : "rule \"" + name.substr(0, 64) + "\"";
}

// Rules that read no text at all, found from the node that reads to what leads there.
class Pruner {
 public:
  explicit Pruner(Automaton& automaton)
      : a_(automaton), live_(a_.nodes.size(), false), begins_(a_.nodes.size() + 1, 0) {
    waiting_.resize(a_.starts.size());
    ends_.assign(a_.starts.size(), false);
    each_edge([this](NodeId, NodeId to, RuleId) { ++begins_[to]; });
    std::uint32_t total = 0;
    for (std::uint32_t& count : begins_) count = total += count;
    into_.resize(total);
    each_edge([this](NodeId from, NodeId to, RuleId rule) { into_[--begins_[to]] = {from, rule}; });
  }
  void run() {
    for (NodeId n = 0; n < a_.nodes.size(); ++n) {
      if (a_.nodes[n].final) mark(n);
    }
    while (!queue_.empty()) {
      const NodeId node = queue_.back();
      queue_.pop_back();
      if (a_.starts[a_.nodes[node].rule] == node) rule_ends(a_.nodes[node].rule);
      for (std::uint32_t i = begins_[node]; i < begins_[node + 1u]; ++i) {
        const auto [from, rule] = into_[i];
        if (rule == kNoRule || ends_[rule]) {
          mark(from);
        } else {
          waiting_[rule].push_back(from);
        }
      }
    }
    for (Node& node : a_.nodes) {
      std::erase_if(node.bytes, [this](const ByteEdge& edge) { return !live_[edge.to]; });
      std::erase_if(node.rules, [this](const RuleEdge& edge) { return !live_[edge.to] || !ends_[edge.rule]; });
    }
  }
  bool ends(RuleId rule) const { return ends_[rule]; }

 private:
  static constexpr RuleId kNoRule = 0xffffffff;
  template <typename Visit>
  void each_edge(Visit visit) const {
    for (NodeId n = 0; n < a_.nodes.size(); ++n) {
      for (const ByteEdge& edge : a_.nodes[n].bytes) visit(n, edge.to, kNoRule);
      for (const RuleEdge& edge : a_.nodes[n].rules) visit(n, edge.to, edge.rule);
    }
  }
  void mark(NodeId node) {
    if (live_[node]) return;
    live_[node] = true;
    queue_.push_back(node);
  }
  void rule_ends(RuleId rule) {
    ends_[rule] = true;
    for (const NodeId node : waiting_[rule]) mark(node);
    waiting_[rule].clear();
  }
  Automaton& a_;
  std::vector<bool> live_, ends_;
  std::vector<std::uint32_t> begins_;            // by node: where its part of into_ begins
  std::vector<std::pair<NodeId, RuleId>> into_;  // edges by where they lead
  std::vector<std::vector<NodeId>> waiting_;
  std::vector<NodeId> queue_;
};

// Which rules a rule may enter before it has read anything.
class LeftEdges {
 public:
  explicit LeftEdges(const Automaton& automaton)
      : a_(automaton), seen_(a_.nodes.size(), false), empty_(a_.starts.size(), false), waiting_(a_.starts.size()) {
    edges.resize(a_.starts.size());
    for (const NodeId start : a_.starts) {
      if (start != kNoNode) visit(start);
    }
    while (!queue_.empty()) {
      const NodeId n = queue_.back();
      queue_.pop_back();
      const Node& node = a_.nodes[n];
      if (node.final && !empty_[node.rule]) {
        empty_[node.rule] = true;
        for (const NodeId next : std::exchange(waiting_[node.rule], {})) visit(next);
      }
      for (const RuleEdge& edge : node.rules) {
        edges[node.rule].insert(edge.rule);
        if (empty_[edge.rule]) {
          visit(edge.to);
        } else {
          waiting_[edge.rule].push_back(edge.to);
        }
      }
    }
  }
  static constexpr NodeId kNoNode = 0xffffffff;
  std::vector<std::set<RuleId>> edges;

 private:
  void visit(NodeId node) {
    if (seen_[node]) return;
    seen_[node] = true;
    queue_.push_back(node);
  }
  const Automaton& a_;
  std::vector<bool> seen_, empty_;
  std::vector<std::vector<NodeId>> waiting_;
  std::vector<NodeId> queue_;
};

// Rules are taken away while nothing leads into them; what stays lies on, or behind, a circle.
Status refuse_left_recursion(const Grammar& grammar, const Automaton& automaton) {
  const LeftEdges left(automaton);
  std::vector<std::uint32_t> entered(left.edges.size(), 0);
  for (const auto& targets : left.edges) {
    for (const RuleId target : targets) ++entered[target];
  }
  std::vector<RuleId> free;
  for (RuleId id = 0; id < entered.size(); ++id) {
    if (entered[id] == 0) free.push_back(id);
  }
  std::size_t taken = 0;
  while (!free.empty()) {
    const RuleId id = free.back();
    free.pop_back();
    ++taken;
    for (const RuleId target : left.edges[id]) {
      if (--entered[target] == 0) free.push_back(target);
    }
  }
  if (taken == left.edges.size()) return {};
  for (RuleId id = 0; id < entered.size(); ++id) {
    if (entered[id] != 0 && left.edges[id].count(id) != 0) {
      return invalid_argument("is left-recursive: " + shown(grammar, id) + " begins with itself");
    }
  }
  return invalid_argument("is left-recursive: a rule begins with itself by way of others");
}

void classify_bytes(Automaton& automaton) {
  std::array<bool, 257> cut = {};
  for (const Node& node : automaton.nodes) {
    for (const ByteEdge& edge : node.bytes) cut[edge.low] = cut[edge.high + 1u] = true;
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    if (byte == 0 || cut[byte]) automaton.class_byte.push_back(static_cast<std::uint8_t>(byte));
    automaton.byte_class[byte] = static_cast<std::uint8_t>(automaton.class_byte.size() - 1);
  }
}

void list_returns(Automaton& automaton) {
  automaton.returns.resize(automaton.starts.size());
  for (const Node& node : automaton.nodes) {
    for (const RuleEdge& edge : node.rules) automaton.returns[edge.rule].push_back(edge.to);
  }
  for (auto& nodes : automaton.returns) {
    std::sort(nodes.begin(), nodes.end());
    nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  }
}

// Rules that the root reaches, in order of their first mention.
Result<std::vector<RuleId>> used_rules(const Grammar& grammar) {
  std::vector<bool> seen(grammar.rules(), false), seen_expr(grammar.exprs(), false);
  std::vector<RuleId> rules = {grammar.root()};
  seen[grammar.root()] = true;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!grammar.defined(rules[i]))
      return invalid_argument("uses " + shown(grammar, rules[i]) + ", which it does not define");
    std::vector<ExprId> open = {grammar.body(rules[i])};
    while (!open.empty()) {
      const ExprId id = open.back();
      open.pop_back();
      if (seen_expr[id]) continue;
      seen_expr[id] = true;
      const Expr& expr = grammar.expr(id);
      open.insert(open.end(), expr.parts.begin(), expr.parts.end());
      if (expr.kind != Expr::Kind::kRule || seen[expr.rule]) continue;
      seen[expr.rule] = true;
      rules.push_back(expr.rule);
    }
  }
  return rules;
}

}  // namespace

std::size_t Automaton::bytes() const {
  std::size_t total = sizeof(*this) + starts.size() * (sizeof(NodeId) + sizeof(returns[0]));
  for (const Node& node : nodes) {
    total += sizeof(node) + node.bytes.capacity() * sizeof(ByteEdge) + node.rules.capacity() * 3 * sizeof(RuleEdge);
  }
  return total;
}

Result<Automaton> build_automaton(const Grammar& grammar, const GrammarLimits& limits) {
  if (grammar.exprs() > limits.exprs) return too_large();
  ASSIGN_OR_RETURN(const std::vector<RuleId> used, used_rules(grammar));
  const std::vector<bool> inlined = inlined_rules(grammar);
  BuildBudget budget{limits.build_steps, limits.nodes, limits.set_elements};
  Automaton automaton;
  automaton.root = grammar.root();
  automaton.starts.assign(grammar.rules(), LeftEdges::kNoNode);
  for (const RuleId id : used) {
    if (inlined[id]) continue;
    ASSIGN_OR_RETURN(std::vector<Node> nodes, build_rule(grammar, id, inlined, budget));
    const auto base = static_cast<NodeId>(automaton.nodes.size());
    automaton.starts[id] = base;
    for (Node& node : nodes) {
      for (ByteEdge& edge : node.bytes) edge.to += base;
      for (RuleEdge& edge : node.rules) edge.to += base;
      automaton.nodes.push_back(std::move(node));
    }
  }
  Pruner pruner(automaton);
  pruner.run();
  if (!pruner.ends(automaton.root)) return invalid_argument("allows no text that ends");
  RETURN_IF_ERROR(refuse_left_recursion(grammar, automaton));
  classify_bytes(automaton);
  list_returns(automaton);
  return automaton;
}

}  // namespace foregate::grammar
