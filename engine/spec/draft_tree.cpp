#include "engine/spec/draft_tree.h"

#include <algorithm>

namespace foregate {

std::vector<std::int32_t> TreeShape::widths() const {
  std::vector<std::int32_t> widths(static_cast<std::size_t>(depth()), 0);
  for (const TreeNode& node : nodes) ++widths[static_cast<std::size_t>(node.depth - 1)];
  return widths;
}

TreeShape::Range TreeShape::children(std::int32_t node) const {
  const auto range = std::ranges::equal_range(nodes, node, {}, &TreeNode::parent);
  return {static_cast<std::int32_t>(range.begin() - nodes.begin()),
          static_cast<std::int32_t>(range.end() - nodes.begin())};
}

bool is_chain(std::span<const std::int32_t> parents) {
  for (std::size_t i = 0; i < parents.size(); ++i) {
    if (parents[i] != static_cast<std::int32_t>(i) - 1) return false;
  }
  return true;
}

std::vector<std::int32_t> depths_of(std::span<const std::int32_t> parents) {
  std::vector<std::int32_t> depths;
  for (const std::int32_t parent : parents) {
    depths.push_back(parent < 0 ? 1 : depths[static_cast<std::size_t>(parent)] + 1);
  }
  return depths;
}

std::vector<std::int32_t> depth_first(std::span<const std::int32_t> order, std::span<const std::int32_t> parents) {
  std::vector<std::int32_t> found;
  std::vector<std::int32_t> stack{-1};
  while (!stack.empty()) {
    const std::int32_t at = stack.back();
    stack.pop_back();
    if (at >= 0) found.push_back(at);
    for (std::size_t i = order.size(); i-- > 0;) {
      if (parents[static_cast<std::size_t>(order[i])] == at) stack.push_back(order[i]);
    }
  }
  return found;
}

std::int32_t child_that_is(std::span<const Token> tokens, std::span<const std::int32_t> parents, std::int32_t at,
                           Token token) {
  for (auto i = static_cast<std::size_t>(at + 1); i < parents.size(); ++i) {
    if (parents[i] == at && tokens[i] == token) return static_cast<std::int32_t>(i);
  }
  return -1;
}

}  // namespace foregate
