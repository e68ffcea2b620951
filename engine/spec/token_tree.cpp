#include "engine/spec/token_tree.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "engine/api/limits.h"

namespace foregate {
namespace {

using Json = nlohmann::json;
using Way = std::vector<std::int32_t>;

Status wrong(const std::string& what) {
  return invalid_argument("speculative_token_tree " + what, "speculative_config");
}

std::string text_of(const Way& way) {
  std::string text = "(";
  for (const std::int32_t rank : way) text += std::to_string(rank) + ",";
  if (way.size() > 1) text.pop_back();
  return text + ")";
}

// A list of lists of ranks, in brackets of either kind, with commas after the last of a list as Python has them.
class TreeText {
 public:
  explicit TreeText(std::string_view text) : text_(text) {}

  bool read(std::vector<Way>& ways) {
    char close = 0;
    if (!open(close)) return false;
    while (!take(close)) {
      Way way;
      if (ways.size() > kMaxDraftNodes || !read_way(way)) return false;
      ways.push_back(std::move(way));
      if (take(',')) continue;
      if (!take(close)) return false;
      break;
    }
    skip();
    return at_ == text_.size();
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool open(char& close) {
    close = ')';
    if (take('(')) return true;
    close = ']';
    return take('[');
  }
  bool read_rank(std::int32_t& rank) {
    skip();
    const std::size_t first = at_;
    for (rank = 0; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - first < 6; ++at_) {
      rank = rank * 10 + (text_[at_] - '0');
    }
    return at_ > first;
  }
  bool read_way(Way& way) {
    char close = 0;
    if (!open(close)) return false;
    while (!take(close)) {
      std::int32_t rank = 0;
      if (way.size() > kMaxDraftDepth || !read_rank(rank)) return false;
      way.push_back(rank);
      if (take(',')) continue;
      return take(close);
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Status read_array(const Json& value, std::vector<Way>& ways) {
  if (value.size() > kMaxDraftNodes) return {};  // refused by their number
  for (const Json& item : value) {
    if (!item.is_array()) return wrong("must be a list of lists of numbers");
    Way way;
    for (const Json& rank : item) {
      const bool fits = rank.is_number_integer() && rank >= 0 && rank < 1'000'000;
      if (!fits) return wrong("must be a list of lists of numbers");
      if (way.size() <= kMaxDraftDepth) way.push_back(rank.get<std::int32_t>());
    }
    ways.push_back(std::move(way));
  }
  return {};
}

std::int32_t place_of(const std::vector<Way>& ways, const Way& way) {
  const auto at = std::ranges::find(ways, way);
  return at == ways.end() ? -1 : static_cast<std::int32_t>(at - ways.begin());
}

Result<TreeNode> node_of(const std::vector<Way>& ways, const Way& way) {
  TreeNode node{-1, way.back(), static_cast<std::int32_t>(way.size())};
  if (way.size() > 1) {
    const Way before(way.begin(), way.end() - 1);
    node.parent = place_of(ways, before);
    if (node.parent < 0) return wrong("has " + text_of(way) + " but not " + text_of(before) + " that it follows");
  }
  if (node.rank > 0) {
    Way sibling = way;
    --sibling.back();
    if (place_of(ways, sibling) < 0) {
      return wrong("has " + text_of(way) + " but not " + text_of(sibling) + ", which is more probable");
    }
  }
  return node;
}

}  // namespace

Result<TreeShape> parse_token_tree(const Json& value) {
  std::vector<Way> ways;
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.size() > kMaxDraftTreeBytes) {
      return wrong("must have at most " + std::to_string(kMaxDraftTreeBytes) + " bytes");
    }
    if (!TreeText(text).read(ways) && ways.size() <= kMaxDraftNodes) {
      return wrong("must be a list like \"[(0,), (1,), (0, 0)]\", of at most " + std::to_string(kMaxDraftDepth) +
                   " numbers each");
    }
  } else if (value.is_array()) {
    RETURN_IF_ERROR(read_array(value, ways));
    if (value.size() > kMaxDraftNodes) ways.resize(value.size());
  } else {
    return wrong("must be a string or an array");
  }
  if (ways.empty()) return wrong("must have a node");
  if (ways.size() > kMaxDraftNodes) return wrong("must have at most " + std::to_string(kMaxDraftNodes) + " nodes");
  std::ranges::sort(ways, [](const Way& a, const Way& b) { return std::pair(a.size(), a) < std::pair(b.size(), b); });
  TreeShape shape;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    if (ways[i].empty()) return wrong("has an empty way");
    if (ways[i].size() > kMaxDraftDepth) {
      return wrong("must be at most " + std::to_string(kMaxDraftDepth) + " deep");
    }
    if (i > 0 && ways[i] == ways[i - 1]) return wrong("has " + text_of(ways[i]) + " twice");
    ASSIGN_OR_RETURN(const TreeNode node, node_of(ways, ways[i]));
    shape.nodes.push_back(node);
  }
  return shape;
}

}  // namespace foregate
