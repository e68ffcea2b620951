// JSON as grammar: white space, strings, numbers, any value. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/grammar/expr.h"

namespace foregate::grammar {

// One character of a string's value, plain or escaped. Never half of a surrogate pair.
ExprId json_char(Grammar& grammar);
// Characters of these ranges as they are spelled in a string: plain where JSON allows it, else escaped.
ExprId json_spelling(const std::vector<CodeRange>& ranges, Grammar& grammar);
// Text as it stands between quotes.
std::string json_escaped(std::string_view text);

// The rules that JSON values are made of, made when first asked for. White space between tokens is none, a space, or
// line breaks with an indent: bounded, so that no model fills its answer with it.
class JsonRules {
 public:
  explicit JsonRules(Grammar& grammar) : grammar_(grammar) {}
  ExprId space();
  ExprId string();  // with its quotes
  ExprId number();
  ExprId integer();
  ExprId object();  // of any values
  ExprId array();
  ExprId value();
  ExprId boolean() { return grammar_.choice({grammar_.text("true"), grammar_.text("false")}); }
  ExprId between(std::string_view mark);  // space, the mark, space
  ExprId null() { return grammar_.text("null"); }
  // open, items parted by commas, close; `item` repeated least to most times (kUnbounded: any).
  ExprId list(std::string_view open, ExprId item, std::string_view close, std::int32_t least, std::int32_t most);

 private:
  ExprId named(const char* name, RuleId& id, bool& fresh);
  ExprId member();
  Grammar& grammar_;
  std::unordered_map<RuleId, ExprId> references_;  // expressions that are used again and again
  std::unordered_map<std::string, ExprId> between_;
};

}  // namespace foregate::grammar
