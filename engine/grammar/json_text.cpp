#include "engine/grammar/json_text.h"

#include <array>
#include <utility>

namespace foregate::grammar {
namespace {

struct Short {
  std::uint32_t code;
  const char* spelling;
};
constexpr Short kShort[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"}, {'\f', "\\f"},
                            {'\n', "\\n"}, {'\r', "\\r"},  {'\t', "\\t"}};

const std::vector<CodeRange>& plain() {
  static const std::vector<CodeRange> kPlain = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7E}, {0x80, kMaxCodePoint}};
  return kPlain;
}

bool contains(const std::vector<CodeRange>& ranges, std::uint32_t code) {
  for (const CodeRange& range : ranges) {
    if (range.low <= code && code <= range.high) return true;
  }
  return false;
}

std::vector<CodeRange> both(const std::vector<CodeRange>& a, const std::vector<CodeRange>& b) {
  std::vector<CodeRange> out;
  for (const CodeRange& x : a) {
    for (const CodeRange& y : b) {
      const CodeRange shared{std::max(x.low, y.low), std::min(x.high, y.high)};
      if (shared.low <= shared.high) out.push_back(shared);
    }
  }
  return out;
}

// \u00NN of a control character.
std::string hex_escape(std::uint32_t code) {
  static const char* kDigits = "0123456789abcdef";
  return std::string("\\u00") + kDigits[code >> 4] + kDigits[code & 15];
}

std::string escape_of(std::uint32_t code) {
  for (const Short& entry : kShort) {
    if (entry.code == code) return entry.spelling;
  }
  return hex_escape(code);
}

}  // namespace

ExprId json_char(Grammar& grammar) {
  const ExprId hex = grammar.chars({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
  const ExprId not_d = grammar.chars({{'0', '9'}, {'a', 'c'}, {'e', 'f'}, {'A', 'C'}, {'E', 'F'}});
  const ExprId low = grammar.chars({{'0', '7'}});
  const ExprId d = grammar.chars({{'d', 'd'}, {'D', 'D'}});
  const ExprId unit = grammar.choice({grammar.sequence({not_d, hex, hex, hex}), grammar.sequence({d, low, hex, hex})});
  const ExprId escapes =
      grammar.chars({{'"', '"'}, {'\\', '\\'}, {'/', '/'}, {'b', 'b'}, {'f', 'f'}, {'n', 'n'}, {'r', 'r'}, {'t', 't'}});
  return grammar.choice(
      {grammar.chars(plain()),
       grammar.sequence({grammar.text("\\"), grammar.choice({escapes, grammar.sequence({grammar.text("u"), unit})})})});
}

ExprId json_spelling(const std::vector<CodeRange>& ranges, Grammar& grammar) {
  std::vector<ExprId> choices;
  const std::vector<CodeRange> open = both(ranges, plain());
  if (!open.empty()) choices.push_back(grammar.chars(open));
  for (std::uint32_t code = 0; code < 0x80; ++code) {
    if (contains(ranges, code) && !contains(plain(), code)) choices.push_back(grammar.text(escape_of(code)));
  }
  return choices.empty() ? grammar.chars({}) : grammar.choice(std::move(choices));
}

std::string json_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == '"' || code == '\\' || code == 0x7F) {
      out += escape_of(code);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

ExprId JsonRules::named(const char* name, RuleId& id, bool& fresh) {
  id = grammar_.declare(name);
  fresh = !grammar_.defined(id);
  const auto [found, first] = references_.try_emplace(id, kNoExpr);
  if (first) found->second = grammar_.rule(id);
  return found->second;
}

ExprId JsonRules::space() {
  RuleId id;
  bool fresh;
  const ExprId ref = named("json space", id, fresh);
  if (!fresh) return ref;
  const ExprId indent = grammar_.repeat(grammar_.chars({{' ', ' '}, {'\t', '\t'}}), 0, 20);
  const ExprId lines = grammar_.sequence({grammar_.repeat(grammar_.text("\n"), 1, 2), indent});
  grammar_.define(id, grammar_.choice({grammar_.text(""), grammar_.text(" "), lines}));
  return ref;
}

ExprId JsonRules::string() {
  RuleId id;
  bool fresh;
  const ExprId ref = named("json string", id, fresh);
  if (!fresh) return ref;
  const ExprId content = grammar_.repeat(json_char(grammar_), 0, kUnbounded);
  grammar_.define(id, grammar_.sequence({grammar_.text("\""), content, grammar_.text("\"")}));
  return ref;
}

ExprId JsonRules::integer() {
  RuleId id;
  bool fresh;
  const ExprId ref = named("json integer", id, fresh);
  if (!fresh) return ref;
  const ExprId digits =
      grammar_.sequence({grammar_.chars({{'1', '9'}}), grammar_.repeat(grammar_.chars({{'0', '9'}}), 0, 17)});
  grammar_.define(
      id, grammar_.choice({grammar_.text("0"), grammar_.sequence({grammar_.optional(grammar_.text("-")), digits})}));
  return ref;
}

ExprId JsonRules::number() {
  RuleId id;
  bool fresh;
  const ExprId ref = named("json number", id, fresh);
  if (!fresh) return ref;
  const ExprId digit = grammar_.chars({{'0', '9'}});
  const ExprId whole = grammar_.choice(
      {grammar_.text("0"), grammar_.sequence({grammar_.chars({{'1', '9'}}), grammar_.repeat(digit, 0, 17)})});
  const ExprId fraction = grammar_.sequence({grammar_.text("."), grammar_.repeat(digit, 1, 18)});
  const ExprId exponent = grammar_.sequence(
      {grammar_.chars({{'e', 'e'}, {'E', 'E'}}), grammar_.optional(grammar_.chars({{'+', '+'}, {'-', '-'}})),
       grammar_.choice(
           {grammar_.text("0"), grammar_.sequence({grammar_.chars({{'1', '9'}}), grammar_.optional(digit)})})});
  grammar_.define(id, grammar_.sequence({grammar_.optional(grammar_.text("-")), whole, grammar_.optional(fraction),
                                         grammar_.optional(exponent)}));
  return ref;
}

ExprId JsonRules::list(std::string_view open, ExprId item, std::string_view close, std::int32_t least,
                       std::int32_t most) {
  const ExprId more = grammar_.sequence({between(","), item});
  std::vector<ExprId> choices;
  if (least == 0) choices.push_back(grammar_.text(""));
  if (most != 0) {
    const std::int32_t rest = most == kUnbounded ? kUnbounded : most - 1;
    choices.push_back(grammar_.sequence({space(), item, grammar_.repeat(more, std::max(0, least - 1), rest)}));
  }
  return grammar_.sequence({grammar_.text(open), grammar_.choice(std::move(choices)), space(), grammar_.text(close)});
}

ExprId JsonRules::between(std::string_view mark) {
  const auto [found, fresh] = between_.try_emplace(std::string(mark), kNoExpr);
  if (fresh) found->second = grammar_.sequence({space(), grammar_.text(mark), space()});
  return found->second;
}

ExprId JsonRules::member() {
  return grammar_.sequence({string(), between(":"), value()});
}

ExprId JsonRules::object() {
  RuleId id;
  bool fresh;
  const ExprId ref = named("json object", id, fresh);
  if (!fresh) return ref;
  grammar_.define(id, grammar_.text(""));  // members mention it
  grammar_.define(id, list("{", member(), "}", 0, kUnbounded));
  return ref;
}

ExprId JsonRules::array() {
  RuleId id;
  bool fresh;
  const ExprId ref = named("json array", id, fresh);
  if (!fresh) return ref;
  grammar_.define(id, grammar_.text(""));
  grammar_.define(id, list("[", value(), "]", 0, kUnbounded));
  return ref;
}

ExprId JsonRules::value() {
  RuleId id;
  bool fresh;
  const ExprId ref = named("json value", id, fresh);
  if (!fresh) return ref;
  grammar_.define(id, grammar_.text(""));
  grammar_.define(id, grammar_.choice({object(), array(), string(), number(), boolean(), null()}));
  return ref;
}

}  // namespace foregate::grammar
