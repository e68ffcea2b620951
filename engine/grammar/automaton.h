// A grammar as one pushdown automaton over bytes: a graph of nodes per rule, whose edges read a byte or enter a rule.
// Nothing in it leads to a dead end, so every text that it can begin to read can also be ended. Built once, then
// read-only.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/grammar/expr.h"
#include "engine/grammar/limits.h"

namespace foregate::grammar {

using NodeId = std::uint32_t;

struct ByteEdge {
  std::uint8_t low = 0;
  std::uint8_t high = 0;
  NodeId to = 0;
};

struct RuleEdge {
  RuleId rule = 0;
  NodeId to = 0;  // where to go on after it
};

struct Node {
  std::vector<ByteEdge> bytes = {};
  std::vector<RuleEdge> rules = {};
  bool final = false;  // its rule may end here
  RuleId rule = 0;
  bool returns_only() const { return final && bytes.empty() && rules.empty(); }
};

struct Automaton {
  std::vector<Node> nodes;
  std::vector<NodeId> starts;                // by rule
  std::vector<std::vector<NodeId>> returns;  // by rule: where its callers go on
  RuleId root = 0;
  // Bytes that no edge tells apart share a class.
  std::array<std::uint8_t, 256> byte_class = {};
  std::vector<std::uint8_t> class_byte;  // one byte of each class
  std::size_t classes() const { return class_byte.size(); }
  std::size_t bytes() const;  // memory, roughly
};

// kInvalidArgument for a rule that is used and never defined, left recursion, a grammar without any text, or one that
// passes the limits.
Result<Automaton> build_automaton(const Grammar& grammar, const GrammarLimits& limits);

}  // namespace foregate::grammar
