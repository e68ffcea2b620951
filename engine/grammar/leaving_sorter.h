// Sorts the tokens that go on behind the end of a rule by what they go on with. Inner part of NodeClasses; one node.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/grammar/node_tokens.h"

namespace foregate::grammar {

class LeavingSorter {
 public:
  explicit LeavingSorter(const TokenTrie& trie) : trie_(trie) {}
  // `token` may leave the rule after any of these numbers of bytes, ascending and not empty.
  void add(std::int32_t token, const std::vector<std::uint16_t>& offsets);
  std::unique_ptr<LeavingTokens> sorted();  // null when there are none

 private:
  std::string_view text(const LeavingTokens::Rest& rest) const;
  const TokenTrie& trie_;
  std::vector<LeavingTokens::Rest> rests_;  // in the order they came
  std::unordered_map<std::string_view, std::uint32_t> by_text_;
  std::map<std::vector<std::uint32_t>, std::vector<std::int32_t>> by_rests_;
};

}  // namespace foregate::grammar
