// Drafts that are trees: which guesses a drafter makes of every place (TreeShape, one for the server), and what becomes
// of the tokens of one draft. The verdict on a tree is that on a chain, in the child that the target chose (verify.h).
// Token trees: Miao et al., SpecInfer, arXiv 2305.09781. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/api/types.h"

namespace foregate {

// A token that may be guessed after the tokens on the way to it.
struct TreeNode {
  std::int32_t parent = -1;  // in the shape; -1: the newest token of the sequence
  std::int32_t rank = 0;     // of the drafter's guesses there: 0 is the most probable
  std::int32_t depth = 1;    // tokens on the way, itself included
};

// By depth, then by parent, then by rank: a parent comes before its children, which are side by side, from rank 0 on.
struct TreeShape {
  std::vector<TreeNode> nodes;  // empty: drafts are chains
  bool empty() const { return nodes.empty(); }
  std::int32_t depth() const { return nodes.empty() ? 0 : nodes.back().depth; }
  std::vector<std::int32_t> widths() const;  // nodes by depth, from 1 on
  // Children of the node, -1: of the newest token; [first, end) of nodes.
  struct Range {
    std::int32_t first = 0;
    std::int32_t end = 0;
  };
  Range children(std::int32_t node) const;
};

// Whether every token follows the one before it. An empty list of parents is a chain too.
bool is_chain(std::span<const std::int32_t> parents);
// Tokens on the way to each, itself included.
std::vector<std::int32_t> depths_of(std::span<const std::int32_t> parents);
// `order`, whose parents come before their children, depth first: every child after its parent's earlier children and
// what follows those. The first branch is then the first rows of a draft.
std::vector<std::int32_t> depth_first(std::span<const std::int32_t> order, std::span<const std::int32_t> parents);
// Which of the tokens follows token `at` (-1: the newest one of the sequence) and is `token`; -1: none.
std::int32_t child_that_is(std::span<const Token> tokens, std::span<const std::int32_t> parents, std::int32_t at,
                           Token token);

}  // namespace foregate
