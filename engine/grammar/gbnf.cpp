#include "engine/grammar/gbnf.h"

#include <cctype>
#include <optional>
#include <string>
#include <utility>

#include "engine/api/limits.h"

namespace foregate::grammar {
namespace {

bool name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_';
}

std::optional<std::uint32_t> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<std::uint32_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::uint32_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<std::uint32_t>(c - 'A' + 10);
  return std::nullopt;
}

class Parser {
 public:
  Parser(std::string_view source, const GrammarLimits& limits) : source_(source), limits_(limits) {}

  Result<Grammar> parse() {
    skip_space();
    while (at_ < source_.size()) {
      RETURN_IF_ERROR(parse_rule());
      skip_space();
    }
    const RuleId root = grammar_.declare("root");
    if (!grammar_.defined(root)) return invalid_argument("has no rule named root");
    grammar_.set_root(root);
    return std::move(grammar_);
  }

 private:
  Status wrong(const std::string& what) const {
    std::size_t line = 1;
    for (std::size_t i = 0; i < at_ && i < source_.size(); ++i) line += source_[i] == '\n' ? 1 : 0;
    return invalid_argument("is not well-formed in line " + std::to_string(line) + ": " + what);
  }
  void skip_space() {
    for (; at_ < source_.size(); ++at_) {
      if (source_[at_] == '#') {
        while (at_ < source_.size() && source_[at_] != '\n') ++at_;
        if (at_ == source_.size()) return;
      }
      if (std::isspace(static_cast<unsigned char>(source_[at_])) == 0) return;
    }
  }
  char peek() const { return at_ < source_.size() ? source_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  std::string take_name() {
    const std::size_t begin = at_;
    while (at_ < source_.size() && name_char(source_[at_])) ++at_;
    return std::string(source_.substr(begin, at_ - begin));
  }
  // True at "name ::=", the begin of a rule.
  bool rule_begins() {
    const std::size_t begin = at_;
    take_name();
    const bool named = at_ > begin;
    skip_space();
    const bool begins = named && source_.substr(at_, 3) == "::=";
    at_ = begin;
    return begins;
  }

  Status parse_rule() {
    const std::string name = take_name();
    skip_space();
    if (name.empty() || source_.substr(at_, 3) != "::=") return wrong("a rule must begin as `name ::=`");
    at_ += 3;
    const RuleId id = grammar_.declare(name);
    if (grammar_.defined(id)) return wrong("rule \"" + name.substr(0, 64) + "\" is defined twice");
    ASSIGN_OR_RETURN(const ExprId body, parse_choice(0));
    grammar_.define(id, body);
    return {};
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
    for (;;) {
      skip_space();
      const char c = peek();
      if (at_ >= source_.size() || c == '|' || c == ')' || (name_char(c) && rule_begins())) break;
      ASSIGN_OR_RETURN(const ExprId one, parse_atom(depth));
      ASSIGN_OR_RETURN(const ExprId repeated, parse_counts(one));
      parts.push_back(repeated);
      if (grammar_.exprs() > limits_.exprs) return wrong("the grammar is too large");
    }
    return parts.empty() ? grammar_.text("") : grammar_.sequence(std::move(parts));
  }

  Result<ExprId> parse_atom(std::size_t depth) {
    if (take('"')) return parse_string();
    if (take('[')) return parse_class();
    if (take('.')) return grammar_.chars({}, true);
    if (take('(')) {
      ASSIGN_OR_RETURN(const ExprId inner, parse_choice(depth + 1));
      skip_space();
      if (!take(')')) return wrong("a group is not closed");
      return inner;
    }
    const std::string name = take_name();
    if (name.empty()) return wrong("a rule's name, a string, a class or a group was expected");
    return grammar_.rule(grammar_.declare(name));
  }

  Result<ExprId> parse_string() {
    std::string text;
    while (!take('"')) {
      if (at_ >= source_.size()) return wrong("a string is not closed");
      ASSIGN_OR_RETURN(const std::uint32_t code, parse_char());
      append_utf8(code, text);
    }
    return grammar_.text(text);
  }

  Result<ExprId> parse_class() {
    const bool negated = take('^');
    std::vector<CodeRange> ranges;
    while (!take(']')) {
      if (at_ >= source_.size()) return wrong("a character class is not closed");
      CodeRange range;
      ASSIGN_OR_RETURN(range.low, parse_char());
      range.high = range.low;
      if (peek() == '-' && at_ + 1 < source_.size() && source_[at_ + 1] != ']') {
        ++at_;
        ASSIGN_OR_RETURN(range.high, parse_char());
        if (range.high < range.low) return wrong("a character range runs backwards");
      }
      ranges.push_back(range);
    }
    return grammar_.chars(std::move(ranges), negated);
  }

  Result<std::uint32_t> parse_char() {
    if (at_ >= source_.size()) return wrong("the text ends within a string or a class");
    if (!take('\\')) {
      auto code = next_code_point(source_, at_);
      if (!code.ok()) return wrong(code.status().message());
      return code;
    }
    const char c = peek();
    ++at_;
    switch (c) {
      case 'x': return parse_hex(2);
      case 'u': return parse_hex(4);
      case 'U': return parse_hex(8);
      case 't': return std::uint32_t{'\t'};
      case 'r': return std::uint32_t{'\r'};
      case 'n': return std::uint32_t{'\n'};
      case '\\':
      case '"':
      case '\'':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
      case '.': return static_cast<std::uint32_t>(c);
      default: return wrong("an escape is not known");
    }
  }

  Result<std::uint32_t> parse_hex(int digits) {
    std::uint32_t code = 0;
    for (int i = 0; i < digits; ++i) {
      const auto digit = hex_digit(peek());
      if (!digit) return wrong("an escape needs " + std::to_string(digits) + " hexadecimal digits");
      code = code << 4 | *digit;
      ++at_;
    }
    if (code > kMaxCodePoint || (code >= 0xD800 && code <= 0xDFFF)) return wrong("an escape is not a character");
    return code;
  }

  // Nothing, or one of `* + ? {m} {m,} {m,n}`; several in a row apply one after the other.
  Result<ExprId> parse_counts(ExprId part) {
    for (;;) {
      if (take('*')) {
        part = grammar_.repeat(part, 0, kUnbounded);
      } else if (take('+')) {
        part = grammar_.repeat(part, 1, kUnbounded);
      } else if (take('?')) {
        part = grammar_.optional(part);
      } else if (take('{')) {
        ASSIGN_OR_RETURN(part, parse_braces(part));
      } else {
        return part;
      }
    }
  }

  Result<ExprId> parse_braces(ExprId part) {
    skip_space();
    ASSIGN_OR_RETURN(const std::int32_t least, parse_count());
    std::int32_t most = least;
    skip_space();
    if (take(',')) {
      skip_space();
      most = kUnbounded;
      if (peek() != '}') {
        ASSIGN_OR_RETURN(most, parse_count());
        if (most < least) return wrong("a count runs backwards");
      }
    }
    skip_space();
    if (!take('}')) return wrong("a count is not closed");
    return grammar_.repeat(part, least, most);
  }

  Result<std::int32_t> parse_count() {
    if (std::isdigit(static_cast<unsigned char>(peek())) == 0) return wrong("a count must be a number");
    std::int32_t value = 0;
    while (std::isdigit(static_cast<unsigned char>(peek())) != 0) {
      value = value * 10 + (source_[at_++] - '0');
      if (value > std::int64_t{kMaxFormRepeats}) return wrong("a count is above " + std::to_string(kMaxFormRepeats));
    }
    return value;
  }

  std::string_view source_;
  const GrammarLimits& limits_;
  std::size_t at_ = 0;
  Grammar grammar_;
};

}  // namespace

Result<Grammar> parse_gbnf(std::string_view source, const GrammarLimits& limits) {
  if (source.size() > limits.source_bytes)
    return invalid_argument("is longer than " + std::to_string(limits.source_bytes) + " bytes");
  return Parser(source, limits).parse();
}

}  // namespace foregate::grammar
