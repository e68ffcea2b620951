// The vocabulary as a tree of bytes, laid out in the order of a walk: a node, then all below it, then its next sibling.
// Made once per tokenizer, immutable.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace foregate::grammar {

// What a grammar needs to know of a tokenizer.
struct Vocabulary {
  std::vector<std::string> tokens;    // bytes by id; empty: an id that no text is spelled with
  std::vector<std::int32_t> end_ids;  // end-of-sequence ids
};

class TokenTrie {
 public:
  struct Node {
    std::uint32_t end = 0;  // the first node that is not below this one
    std::uint32_t parent = 0;
    std::uint32_t tokens = 0;  // index of its first token; those of the next node follow
    std::uint16_t depth = 0;   // bytes from the root
    std::uint8_t byte = 0;
  };

  explicit TokenTrie(Vocabulary vocabulary);
  std::uint32_t size() const { return static_cast<std::uint32_t>(nodes_.size() - 1); }
  const Node& node(std::uint32_t i) const { return nodes_[i]; }  // 0 is the root
  // Token ids that are spelled exactly as the node; none at most nodes.
  std::span<const std::int32_t> tokens(std::uint32_t i) const {
    return std::span(ids_).subspan(nodes_[i].tokens, nodes_[i + 1].tokens - nodes_[i].tokens);
  }
  std::size_t depth() const { return depth_; }  // of the longest token
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::size_t mask_words() const { return (vocabulary_.tokens.size() + 63) / 64; }

 private:
  Vocabulary vocabulary_;
  std::vector<Node> nodes_;  // with one behind the last
  std::vector<std::int32_t> ids_;
  std::size_t depth_ = 0;
};

}  // namespace foregate::grammar
