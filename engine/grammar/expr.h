// A grammar as every front end of this folder writes it: rules over literals, character classes, sequences, choices and
// repetitions. Built by one thread, read-only afterwards. Expressions are named by number and may be shared.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/base/status.h"

namespace foregate::grammar {

using ExprId = std::uint32_t;
using RuleId = std::uint32_t;

struct CodeRange {  // code points, both ends included
  std::uint32_t low = 0;
  std::uint32_t high = 0;
};

inline constexpr std::uint32_t kMaxCodePoint = 0x10FFFF;
inline constexpr std::int32_t kUnbounded = -1;
inline constexpr ExprId kNoExpr = 0xffffffff;

struct Expr {
  enum class Kind : std::uint8_t { kText, kChars, kSequence, kChoice, kRepeat, kRule };
  Kind kind = Kind::kText;
  std::string text = {};               // kText: bytes; empty is the empty text
  std::vector<CodeRange> ranges = {};  // kChars: ascending, apart, without surrogates
  std::vector<ExprId> parts = {};      // kSequence, kChoice; kRepeat: one
  std::int32_t least = 0;              // kRepeat
  std::int32_t most = kUnbounded;
  RuleId rule = 0;  // kRule
};

class Grammar {
 public:
  ExprId text(std::string_view bytes);
  ExprId chars(std::vector<CodeRange> ranges, bool negated = false);  // in any order, may overlap
  ExprId sequence(std::vector<ExprId> parts);
  ExprId choice(std::vector<ExprId> parts);
  ExprId repeat(ExprId part, std::int32_t least, std::int32_t most);
  ExprId optional(ExprId part) { return repeat(part, 0, 1); }
  ExprId rule(RuleId id);

  RuleId declare(const std::string& name);  // the rule of that name, made when there is none
  RuleId add_rule(ExprId body);             // without a name
  bool defined(RuleId id) const { return bodies_[id] != kNoExpr; }
  void define(RuleId id, ExprId body) { bodies_[id] = body; }
  void set_root(RuleId id) { root_ = id; }

  const Expr& expr(ExprId id) const { return exprs_[id]; }
  ExprId body(RuleId id) const { return bodies_[id]; }
  const std::string& name(RuleId id) const { return names_[id]; }
  std::size_t rules() const { return bodies_.size(); }
  std::size_t exprs() const { return exprs_.size(); }
  RuleId root() const { return root_; }

 private:
  ExprId add(Expr expr);
  std::vector<Expr> exprs_;
  std::vector<ExprId> bodies_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, RuleId> by_name_;
  RuleId root_ = 0;
};

// Sorted, merged, without surrogates, within the code points there are.
std::vector<CodeRange> normalized(std::vector<CodeRange> ranges);
std::vector<CodeRange> complement(const std::vector<CodeRange>& ranges);

void append_utf8(std::uint32_t code, std::string& out);
// The code point at `at`, which moves behind it; kInvalidArgument where the text is not UTF-8.
Result<std::uint32_t> next_code_point(std::string_view text, std::size_t& at);

}  // namespace foregate::grammar
