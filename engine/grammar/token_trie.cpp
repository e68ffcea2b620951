#include "engine/grammar/token_trie.h"

#include <algorithm>
#include <utility>

namespace foregate::grammar {
namespace {

constexpr std::size_t kLongest = 4096;  // bytes; longer tokens are never chosen under a grammar

std::size_t common_prefix(const std::string& a, const std::string& b) {
  std::size_t n = 0;
  while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
  return n;
}

}  // namespace

TokenTrie::TokenTrie(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {
  const std::vector<std::string>& tokens = vocabulary_.tokens;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!tokens[id].empty() && tokens[id].size() <= kLongest) ids_.push_back(static_cast<std::int32_t>(id));
  }
  const auto text = [&tokens](std::int32_t id) -> const std::string& { return tokens[static_cast<std::size_t>(id)]; };
  std::stable_sort(ids_.begin(), ids_.end(), [&](std::int32_t a, std::int32_t b) { return text(a) < text(b); });

  nodes_.emplace_back();
  std::vector<std::uint32_t> path = {0};  // nodes of the last token, by depth
  const auto close = [this, &path](std::size_t depth) {
    while (path.size() > depth + 1) {
      nodes_[path.back()].end = static_cast<std::uint32_t>(nodes_.size());
      path.pop_back();
    }
  };
  static const std::string kNone;
  const std::string* last = &kNone;
  for (std::uint32_t i = 0; i < ids_.size(); ++i) {
    const std::string& token = text(ids_[i]);
    close(common_prefix(*last, token));
    while (path.size() <= token.size()) {
      Node node;
      node.parent = path.back();
      node.depth = static_cast<std::uint16_t>(path.size());
      node.byte = static_cast<std::uint8_t>(token[path.size() - 1]);
      node.tokens = i;  // right for the node of the token itself; one above it has none, and the next one says so too
      path.push_back(static_cast<std::uint32_t>(nodes_.size()));
      nodes_.push_back(node);
    }
    depth_ = std::max(depth_, token.size());
    last = &token;
  }
  close(0);
  nodes_[0].end = static_cast<std::uint32_t>(nodes_.size());
  Node behind;
  behind.tokens = static_cast<std::uint32_t>(ids_.size());
  nodes_.push_back(behind);
}

}  // namespace foregate::grammar
