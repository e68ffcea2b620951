// One rule as a graph: expressions become edges (Thompson, CACM 1968), then sets of states become nodes, as far as that
// does not make them many more. Inner part of build_automaton().
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/grammar/automaton.h"

namespace foregate::grammar {

// What building may still cost; shared by all rules of a grammar.
struct BuildBudget {
  std::uint64_t steps = 0;
  std::size_t nodes = 0;
  std::size_t elements = 0;  // of the sets of one rule
  bool spend(std::uint64_t amount) {
    if (steps < amount) return false;
    steps -= amount;
    return true;
  }
};

Status too_large();

// Which rules are put in place of their references: small ones that refer to no other.
std::vector<bool> inlined_rules(const Grammar& grammar);

// Nodes of rule `id`, the first being its start; edges name nodes from 0. kInvalidArgument past the budget.
Result<std::vector<Node>> build_rule(const Grammar& grammar, RuleId id, const std::vector<bool>& inlined,
                                     BuildBudget& budget);

}  // namespace foregate::grammar
