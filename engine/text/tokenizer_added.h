// Added tokens of tokenizer.json: texts that are one token whatever the model would make of them.
// Immutable after build(); safe to share.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/text/tokenizer_regex.h"

namespace foregate::tok {

struct AddedToken {
  std::string content;
  std::string pattern;  // what is looked for: the content, or its normalized form
  Token id = -1;
  bool single_word = false, lstrip = false, rstrip = false, normalized = true, special = false;
};

// A stretch of text: an added token, or (id -1) text between two of them.
struct AddedMatch {
  std::size_t begin, end;
  Token id;
};

class AddedTokens {
 public:
  static constexpr std::size_t kMaxCount = 65536;
  static constexpr std::size_t kMaxPatternBytes = 4096;

  // kDataLoss naming added_tokens[i] for empty, too long or repeated patterns.
  static Result<AddedTokens> build(std::vector<AddedToken> tokens);

  // `literal(begin, end)`: special tokens must not be read there. May be empty.
  using IsLiteral = std::function<bool(std::size_t, std::size_t)>;
  // Cuts `text` at the tokens that are matched before normalization (`normalized` false) or after
  // it. Leftmost first, then longest, as the reference library does.
  std::vector<AddedMatch> split(std::string_view text, bool normalized, const IsLiteral& literal) const;

  const AddedToken* find(Token id) const;
  std::optional<Token> id_of(std::string_view content) const;
  bool any(bool normalized) const { return tries_[normalized].nodes.size() > 1; }
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  struct Node {
    std::map<unsigned char, std::size_t> next;
    std::ptrdiff_t token = -1;  // index into tokens_
  };
  struct Trie {
    std::vector<Node> nodes = std::vector<Node>(1);
  };
  explicit AddedTokens(Regex word) : word_(std::move(word)) {}
  Status insert(std::size_t index);
  const AddedToken* longest(std::string_view text, std::size_t at, const Trie& trie, const IsLiteral& literal) const;
  bool is_word(std::string_view character) const;
  bool inside_word(std::string_view text, std::size_t begin, std::size_t end) const;

  std::vector<AddedToken> tokens_;
  std::map<Token, std::size_t> by_id_;
  std::map<std::string, Token, std::less<>> by_content_;
  Trie tries_[2];
  Regex word_;
};

}  // namespace foregate::tok
