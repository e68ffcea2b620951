#include "engine/grammar/expr.h"

#include <algorithm>
#include <utility>

namespace foregate::grammar {
namespace {

constexpr std::uint32_t kSurrogatesBegin = 0xD800, kSurrogatesEnd = 0xDFFF;

}  // namespace

std::vector<CodeRange> normalized(std::vector<CodeRange> ranges) {
  std::vector<CodeRange> split;
  for (CodeRange range : ranges) {
    range.high = std::min(range.high, kMaxCodePoint);
    if (range.low > range.high) continue;
    if (range.high < kSurrogatesBegin || range.low > kSurrogatesEnd) {
      split.push_back(range);
      continue;
    }
    if (range.low < kSurrogatesBegin) split.push_back({range.low, kSurrogatesBegin - 1});
    if (range.high > kSurrogatesEnd) split.push_back({kSurrogatesEnd + 1, range.high});
  }
  std::sort(split.begin(), split.end(), [](const CodeRange& a, const CodeRange& b) { return a.low < b.low; });
  std::vector<CodeRange> merged;
  for (const CodeRange& range : split) {
    if (!merged.empty() && range.low <= merged.back().high + 1) {
      merged.back().high = std::max(merged.back().high, range.high);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

std::vector<CodeRange> complement(const std::vector<CodeRange>& ranges) {
  std::vector<CodeRange> rest;
  std::uint32_t next = 0;
  for (const CodeRange& range : normalized(ranges)) {
    if (range.low > next) rest.push_back({next, range.low - 1});
    next = range.high + 1;
  }
  if (next <= kMaxCodePoint) rest.push_back({next, kMaxCodePoint});
  return normalized(std::move(rest));
}

void append_utf8(std::uint32_t code, std::string& out) {
  const auto put = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
    return put(0x80 | (code & 0x3F));
  }
  if (code < 0x10000) {
    put(0xE0 | code >> 12);
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
  }
  put(0x80 | (code >> 6 & 0x3F));
  put(0x80 | (code & 0x3F));
}

Result<std::uint32_t> next_code_point(std::string_view text, std::size_t& at) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  const int more = first < 0x80 ? 0 : first < 0xC2 ? -1 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : -1;
  if (more < 0 || at + static_cast<std::size_t>(more) >= text.size() + (more == 0 ? 1 : 0)) {
    return invalid_argument("is not valid UTF-8 at byte " + std::to_string(at));
  }
  std::uint32_t code = more == 0 ? first : first & (0x3Fu >> more);
  for (int i = 1; i <= more; ++i) {
    const unsigned char next = byte(at + static_cast<std::size_t>(i));
    if ((next & 0xC0) != 0x80) return invalid_argument("is not valid UTF-8 at byte " + std::to_string(at));
    code = code << 6 | (next & 0x3Fu);
  }
  const bool overlong = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
  if (overlong || code > kMaxCodePoint || (code >= kSurrogatesBegin && code <= kSurrogatesEnd)) {
    return invalid_argument("is not valid UTF-8 at byte " + std::to_string(at));
  }
  at += static_cast<std::size_t>(more) + 1;
  return code;
}

ExprId Grammar::add(Expr expr) {
  exprs_.push_back(std::move(expr));
  return static_cast<ExprId>(exprs_.size() - 1);
}

ExprId Grammar::text(std::string_view bytes) {
  return add({.kind = Expr::Kind::kText, .text = std::string(bytes)});
}

ExprId Grammar::chars(std::vector<CodeRange> ranges, bool negated) {
  return add({.kind = Expr::Kind::kChars, .ranges = negated ? complement(ranges) : normalized(std::move(ranges))});
}

ExprId Grammar::sequence(std::vector<ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return add({.kind = Expr::Kind::kSequence, .parts = std::move(parts)});
}

ExprId Grammar::choice(std::vector<ExprId> parts) {
  if (parts.size() == 1) return parts[0];
  return add({.kind = Expr::Kind::kChoice, .parts = std::move(parts)});
}

ExprId Grammar::repeat(ExprId part, std::int32_t least, std::int32_t most) {
  return add({.kind = Expr::Kind::kRepeat, .parts = {part}, .least = least, .most = most});
}

ExprId Grammar::rule(RuleId id) {
  return add({.kind = Expr::Kind::kRule, .rule = id});
}

RuleId Grammar::declare(const std::string& name) {
  const auto [found, fresh] = by_name_.try_emplace(name, static_cast<RuleId>(bodies_.size()));
  if (fresh) {
    bodies_.push_back(kNoExpr);
    names_.push_back(name);
  }
  return found->second;
}

RuleId Grammar::add_rule(ExprId body) {
  bodies_.push_back(body);
  names_.emplace_back();
  return static_cast<RuleId>(bodies_.size() - 1);
}

}  // namespace foregate::grammar
