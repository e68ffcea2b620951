#include "engine/text/tokenizer_added.h"

#include <algorithm>
#include <utility>

#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

// Begin of the character that ends at `end`.
std::size_t character_before(std::string_view text, std::size_t end) {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

}  // namespace

Result<AddedTokens> AddedTokens::build(std::vector<AddedToken> tokens) {
  // A word character of the single_word rule: Unicode's definition, which includes the joiners.
  ASSIGN_OR_RETURN(auto word, Regex::compile("\\A[\\w\\u200C\\u200D]", "added_tokens"));
  AddedTokens made(std::move(word));
  made.tokens_ = std::move(tokens);
  for (std::size_t i = 0; i < made.tokens_.size(); ++i) RETURN_IF_ERROR(made.insert(i));
  return made;
}

Status AddedTokens::insert(std::size_t index) {
  const AddedToken& token = tokens_[index];
  const std::string where = "added_tokens[" + std::to_string(index) + "]";
  if (token.pattern.empty()) return data_loss(where + ".content is empty", where);
  if (token.pattern.size() > kMaxPatternBytes) return data_loss(where + ".content is longer than 4096 bytes", where);
  auto& nodes = tries_[token.normalized].nodes;
  std::size_t node = 0;
  for (const char byte : token.pattern) {
    const auto [edge, added] = nodes[node].next.try_emplace(static_cast<unsigned char>(byte), nodes.size());
    node = edge->second;
    if (added) nodes.emplace_back();
  }
  if (nodes[node].token >= 0) return data_loss(where + ".content appears twice", where);
  nodes[node].token = static_cast<std::ptrdiff_t>(index);
  if (!by_content_.emplace(token.content, token.id).second) {
    return data_loss(where + ".content appears twice", where);
  }
  if (!by_id_.emplace(token.id, index).second) return data_loss(where + ".id is given twice", where);
  return {};
}

const AddedToken* AddedTokens::find(Token id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

std::optional<Token> AddedTokens::id_of(std::string_view content) const {
  const auto found = by_content_.find(content);
  if (found == by_content_.end()) return std::nullopt;
  return found->second;
}

const AddedToken* AddedTokens::longest(std::string_view text, std::size_t at, const Trie& trie,
                                       const IsLiteral& literal) const {
  const AddedToken* best = nullptr;
  std::size_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto edge = trie.nodes[node].next.find(static_cast<unsigned char>(text[i]));
    if (edge == trie.nodes[node].next.end()) break;
    node = edge->second;
    if (trie.nodes[node].token < 0) continue;
    const AddedToken& token = tokens_[trie.nodes[node].token];
    if (!token.special || !literal || !literal(at, i + 1)) best = &token;
  }
  return best;
}

bool AddedTokens::is_word(std::string_view character) const {
  RegexScan scan(word_);
  scan.start(character);
  std::size_t begin = 0, end = 0;
  return scan.next(&begin, &end);
}

bool AddedTokens::inside_word(std::string_view text, std::size_t begin, std::size_t end) const {
  if (begin > 0) {
    const std::size_t before = character_before(text, begin);
    if (is_word(text.substr(before, begin - before))) return true;
  }
  return end < text.size() && is_word(text.substr(end, utf8_length(text[end])));
}

std::vector<AddedMatch> AddedTokens::split(std::string_view text, bool normalized, const IsLiteral& literal) const {
  std::vector<AddedMatch> found;
  const Trie& trie = tries_[normalized];
  const auto& root = trie.nodes[0].next;
  std::size_t done = 0;  // everything before it is in `found`
  for (std::size_t at = 0; at < text.size() && !root.empty();) {
    const AddedToken* token =
        root.count(static_cast<unsigned char>(text[at])) ? longest(text, at, trie, literal) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at + token->pattern.size();
    at = end;  // a match refused below still uses up its text
    if (token->single_word && inside_word(text, begin, end)) continue;
    while (token->lstrip && begin > done) {
      std::size_t before = character_before(text, begin);
      const std::size_t space = before;
      if (!is_space(utf8_next(text, &before))) break;
      begin = space;
    }
    begin = std::max(begin, done);
    for (std::size_t next = end; token->rstrip && next < text.size();) {
      if (!is_space(utf8_next(text, &next))) break;
      end = next;
    }
    if (done < begin) found.push_back({done, begin, -1});
    found.push_back({begin, end, token->id});
    done = end;
  }
  if (done < text.size()) found.push_back({done, text.size(), -1});
  return found;
}

}  // namespace foregate::tok
