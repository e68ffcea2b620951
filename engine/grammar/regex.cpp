#include "engine/grammar/regex.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "engine/api/limits.h"
#include "engine/grammar/json_text.h"

namespace foregate::grammar {
namespace {

const std::vector<CodeRange> kDigits = {{'0', '9'}};
const std::vector<CodeRange> kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const std::vector<CodeRange> kSpace = {{'\t', '\r'}, {' ', ' '}};
const std::vector<CodeRange> kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class RegexParser {
 public:
  RegexParser(std::string_view pattern, RegexUse use, const GrammarLimits& limits, Grammar& grammar)
      : pattern_(pattern), use_(use), limits_(limits), grammar_(grammar) {}

  Result<ExprId> parse() {
    std::vector<ExprId> choices;
    do {
      ASSIGN_OR_RETURN(const ExprId one, parse_whole());
      choices.push_back(one);
    } while (take('|'));
    if (at_ < pattern_.size()) return wrong("a closing parenthesis has no opening one");
    return grammar_.choice(std::move(choices));
  }

 private:
  Status wrong(const std::string& what) const {
    return invalid_argument("is not well-formed at byte " + std::to_string(at_) + ": " + what);
  }
  Status refused(const std::string& what) const { return unimplemented("uses " + what + ", which is not supported"); }
  bool done() const { return at_ >= pattern_.size(); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool take(char c) {
    if (done() || pattern_[at_] != c) return false;
    ++at_;
    return true;
  }
  // A set of characters as they stand in the text.
  ExprId spelled(std::vector<CodeRange> ranges) {
    if (use_ == RegexUse::kWholeText) return grammar_.chars(std::move(ranges));
    return json_spelling(normalized(std::move(ranges)), grammar_);
  }
  ExprId anything() { return grammar_.repeat(json_char(grammar_), 0, kUnbounded); }

  // One choice at the top, with the anchors it may have.
  Result<ExprId> parse_whole() {
    const bool from_begin = take('^');
    ASSIGN_OR_RETURN(const ExprId middle, parse_sequence(0));
    const bool to_end = take('$');
    if (!done() && peek() != '|' && to_end) return refused("$ before the end");
    if (use_ == RegexUse::kWholeText) return middle;
    std::vector<ExprId> parts;
    if (!from_begin) parts.push_back(anything());
    parts.push_back(middle);
    if (!to_end) parts.push_back(anything());
    return grammar_.sequence(std::move(parts));
  }

  Result<ExprId> parse_choice(std::size_t depth) {
    if (depth > limits_.depth) return wrong("groups are nested too deeply");
    std::vector<ExprId> choices;
    do {
      ASSIGN_OR_RETURN(const ExprId one, parse_sequence(depth));
      choices.push_back(one);
    } while (take('|'));
    return grammar_.choice(std::move(choices));
  }

  Result<ExprId> parse_sequence(std::size_t depth) {
    std::vector<ExprId> parts;
    while (!done() && peek() != '|' && peek() != ')') {
      if (peek() == '$') {
        if (depth == 0) break;
        return refused("$ within a group");
      }
      ASSIGN_OR_RETURN(const ExprId one, parse_atom(depth));
      ASSIGN_OR_RETURN(const ExprId repeated, parse_counts(one));
      parts.push_back(repeated);
      if (grammar_.exprs() > limits_.exprs) return wrong("it is too large");
    }
    return parts.empty() ? grammar_.text("") : grammar_.sequence(std::move(parts));
  }

  Result<ExprId> parse_atom(std::size_t depth) {
    const char c = peek();
    if (c == '^') return refused("^ after the begin");
    if (c == '*' || c == '+' || c == '?' || (c == '{' && count_follows())) return wrong("nothing to repeat");
    if (take('(')) return parse_group(depth);
    if (take('[')) return parse_class();
    if (take('.')) return spelled(complement(kLineEnds));
    if (take('\\')) {
      ASSIGN_OR_RETURN(std::vector<CodeRange> ranges, parse_escape());
      return spelled(std::move(ranges));
    }
    auto code = next_code_point(pattern_, at_);
    if (!code.ok()) return code.status();
    return spelled({{*code, *code}});
  }

  Result<ExprId> parse_group(std::size_t depth) {
    if (take('?')) {
      if (peek() == '=' || peek() == '!') return refused("look-ahead");
      if (peek() == '<' && (peek(1) == '=' || peek(1) == '!')) return refused("look-behind");
      take('P');
      if (take('<')) {
        while (!done() && !take('>')) ++at_;
      } else if (!take(':')) {
        return refused("a kind of group");
      }
    }
    ASSIGN_OR_RETURN(const ExprId inner, parse_choice(depth + 1));
    if (!take(')')) return wrong("a group is not closed");
    return inner;
  }

  // The escape behind a backslash.
  Result<std::vector<CodeRange>> parse_escape() {
    if (done()) return wrong("it ends with a backslash");
    const char c = pattern_[at_++];
    const auto one = [](std::uint32_t code) { return std::vector<CodeRange>{{code, code}}; };
    switch (c) {
      case 'd': return kDigits;
      case 'D': return complement(kDigits);
      case 'w': return kWord;
      case 'W': return complement(kWord);
      case 's': return kSpace;
      case 'S': return complement(kSpace);
      case 't': return one('\t');
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case '0': return one(0);
      case 'x': return parse_hex(2);
      case 'u': return parse_hex(4);
      case 'b':
      case 'B': return refused("\\b");
      case 'p':
      case 'P': return refused("\\p");
      default: break;
    }
    if (c >= '1' && c <= '9') return refused("a back-reference");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return refused(std::string("\\") + c);
    --at_;
    auto code = next_code_point(pattern_, at_);
    if (!code.ok()) return code.status();
    return one(*code);
  }

  Result<std::vector<CodeRange>> parse_hex(std::size_t digits) {
    std::uint32_t code = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return wrong("an escape needs " + std::to_string(digits) + " hexadecimal digits");
      code = code << 4 | static_cast<std::uint32_t>(digit);
      ++at_;
    }
    if (code >= 0xD800 && code <= 0xDFFF) return refused("half a surrogate pair");
    return std::vector<CodeRange>{{code, code}};
  }

  Result<ExprId> parse_class() {
    const bool negated = take('^');
    std::vector<CodeRange> ranges;
    while (!take(']')) {
      if (done()) return wrong("a character class is not closed");
      ASSIGN_OR_RETURN(const std::vector<CodeRange> low, parse_class_char());
      const bool single = low.size() == 1 && low[0].low == low[0].high;
      if (peek() != '-' || peek(1) == ']' || peek(1) == '\0') {
        ranges.insert(ranges.end(), low.begin(), low.end());
        continue;
      }
      ++at_;
      ASSIGN_OR_RETURN(const std::vector<CodeRange> high, parse_class_char());
      if (!single || high.size() != 1 || high[0].low != high[0].high) return wrong("a range needs single characters");
      if (high[0].low < low[0].low) return wrong("a character range runs backwards");
      ranges.push_back({low[0].low, high[0].low});
    }
    return spelled(negated ? complement(ranges) : std::move(ranges));
  }

  Result<std::vector<CodeRange>> parse_class_char() {
    if (take('\\')) {
      if (take('b')) return std::vector<CodeRange>{{'\b', '\b'}};
      return parse_escape();
    }
    if (done()) return wrong("a character class is not closed");
    auto code = next_code_point(pattern_, at_);
    if (!code.ok()) return code.status();
    return std::vector<CodeRange>{{*code, *code}};
  }

  // True at {m}, {m,} or {m,n}; any other brace is itself.
  bool count_follows() const {
    std::size_t i = 1;
    while (peek(i) >= '0' && peek(i) <= '9') ++i;
    if (i == 1) return false;
    if (peek(i) == ',') ++i;
    while (peek(i) >= '0' && peek(i) <= '9') ++i;
    return peek(i) == '}';
  }

  Result<ExprId> parse_counts(ExprId part) {
    std::int32_t least = 0, most = kUnbounded;
    if (take('*')) {
    } else if (take('+')) {
      least = 1;
    } else if (take('?')) {
      most = 1;
    } else if (peek() == '{' && count_follows()) {
      ++at_;
      ASSIGN_OR_RETURN(least, parse_count());
      most = least;
      if (take(',')) {
        most = kUnbounded;
        if (peek() != '}') {
          ASSIGN_OR_RETURN(most, parse_count());
          if (most < least) return wrong("a count runs backwards");
        }
      }
      take('}');
    } else {
      return part;
    }
    take('?');  // how greedy it is changes what is found, not what matches
    if (peek() == '*' || peek() == '+' || peek() == '?') return wrong("nothing to repeat");
    return grammar_.repeat(part, least, most);
  }

  Result<std::int32_t> parse_count() {
    std::int32_t value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (pattern_[at_++] - '0');
      if (value > std::int64_t{kMaxFormRepeats}) return wrong("a count is above " + std::to_string(kMaxFormRepeats));
    }
    return value;
  }

  std::string_view pattern_;
  const RegexUse use_;
  const GrammarLimits& limits_;
  Grammar& grammar_;
  std::size_t at_ = 0;
};

}  // namespace

Result<ExprId> parse_regex(std::string_view pattern, RegexUse use, const GrammarLimits& limits, Grammar& grammar) {
  if (pattern.size() > limits.source_bytes) {
    return invalid_argument("is longer than " + std::to_string(limits.source_bytes) + " bytes");
  }
  return RegexParser(pattern, use, limits, grammar).parse();
}

}  // namespace foregate::grammar
