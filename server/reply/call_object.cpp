#include "server/reply/call_object.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace foregate {
namespace {

constexpr std::size_t kMostDepth = 128;

}  // namespace

bool string_value(std::string_view json, std::string& out) {
  const auto parsed = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
  if (!parsed.is_string()) return false;
  out = parsed.get<std::string>();
  return true;
}

JsonValueScan::Step JsonValueScan::first(char c) {
  started_ = true;
  if (c == '{' || c == '[') {
    closers_ += c == '{' ? '}' : ']';
  } else if (c == '"') {
    quoted_ = true;
  } else if (c == '}' || c == ']' || c == ',' || c == ':' || is_space(c)) {
    return Step::kBroken;
  }
  return Step::kMore;
}

JsonValueScan::Step JsonValueScan::within_string(char c) {
  if (escaped_) {
    escaped_ = false;
  } else if (c == '\\') {
    escaped_ = true;
  } else if (c == '"') {
    quoted_ = false;
    if (closers_.empty()) return Step::kLast;
  }
  return Step::kMore;
}

JsonValueScan::Step JsonValueScan::push(char c) {
  if (!started_) return first(c);
  if (quoted_) return within_string(c);
  if (closers_.empty()) return c == ',' || c == '}' || c == ']' || is_space(c) ? Step::kAfter : Step::kMore;
  if (c == '"') {
    quoted_ = true;
  } else if (c == '{' || c == '[') {
    if (closers_.size() == kMostDepth) return Step::kBroken;
    closers_ += c == '{' ? '}' : ']';
  } else if (c == '}' || c == ']') {
    if (closers_.back() != c) return Step::kBroken;
    closers_.pop_back();
    if (closers_.empty()) return Step::kLast;
  }
  return Step::kMore;
}

CallObject::Step CallObject::push(char c, PieceSink& out) {
  switch (at_) {
    case At::kStart: return c == '{' ? (at_ = At::kKeyOrEnd, Step::kMore) : is_space(c) ? Step::kMore : Step::kBroken;
    case At::kKeyOrEnd:
      if (is_space(c)) return Step::kMore;
      if (c == '}') return over(out);
      return begin(c, At::kKey);
    case At::kKey: return key(c);
    case At::kColon: return c == ':' ? begin(c, At::kValue) : is_space(c) ? Step::kMore : Step::kBroken;
    case At::kValue: return value(c, out);
    case At::kNext:
      if (c == ',') return at_ = At::kKeyOrEnd, Step::kMore;
      return c == '}' ? over(out) : is_space(c) ? Step::kMore : Step::kBroken;
    case At::kOver: break;
  }
  return Step::kBroken;
}

// A key, of which `c` is the first byte, or a value, which follows.
CallObject::Step CallObject::begin(char c, At next) {
  scan_ = {};
  text_.clear();
  passing_ = false;
  at_ = next;
  if (next == At::kValue) return Step::kMore;
  if (c != '"') return Step::kBroken;
  return key(c);
}

CallObject::Step CallObject::key(char c) {
  text_ += c;
  if (text_.size() > kMostNameBytes) return Step::kBroken;
  if (scan_.push(c) != JsonValueScan::Step::kLast) return Step::kMore;
  std::string name;
  if (!string_value(text_, name)) return Step::kBroken;
  member_ = name == "name"                                ? Member::kName
            : name == "arguments" || name == "parameters" ? Member::kArguments
                                                          : Member::kOther;
  if (member_ == Member::kArguments && std::exchange(has_arguments_, true)) return Step::kBroken;
  at_ = At::kColon;
  return Step::kMore;
}

CallObject::Step CallObject::value(char c, PieceSink& out) {
  if (!scan_.started()) {
    if (is_space(c)) return Step::kMore;
    passing_ = member_ == Member::kArguments && announced_ && c == '{';
  }
  const auto step = scan_.push(c);
  if (step == JsonValueScan::Step::kBroken) return Step::kBroken;
  if (step != JsonValueScan::Step::kAfter) {
    if (passing_) {
      out.put(ReplyPiece::Kind::kArguments, {&c, 1});
    } else {
      text_ += c;
      if (text_.size() > kMostHeldBytes) return Step::kBroken;
    }
  }
  if (step == JsonValueScan::Step::kMore) return Step::kMore;
  at_ = At::kNext;
  const Step ended = value_ended(out);
  return ended == Step::kMore && step == JsonValueScan::Step::kAfter ? push(c, out) : ended;
}

CallObject::Step CallObject::value_ended(PieceSink& out) {
  if (member_ == Member::kName) return announce(out);
  if (member_ == Member::kArguments && !passing_) {
    arguments_ = text_;
    if (announced_) arguments_ended(out);
  }
  return Step::kMore;
}

CallObject::Step CallObject::announce(PieceSink& out) {
  std::string name;
  if (announced_ || !string_value(text_, name) || name.empty() || name.size() > kMostNameBytes) return Step::kBroken;
  if (names_ != nullptr && std::find(names_->begin(), names_->end(), name) == names_->end()) return Step::kBroken;
  announced_ = true;
  out.put(ReplyPiece::Kind::kCall, name);
  if (!arguments_.empty()) arguments_ended(out);
  return Step::kMore;
}

// Arguments that are not an object: some models write its text as a string, or null for none.
void CallObject::arguments_ended(PieceSink& out) {
  std::string text;
  if (arguments_ == "null") {
    text = "{}";
  } else if (!string_value(arguments_, text)) {
    text = arguments_;
  }
  out.put(ReplyPiece::Kind::kArguments, text);
}

CallObject::Step CallObject::over(PieceSink& out) {
  if (!announced_) return Step::kBroken;
  if (!has_arguments_) out.put(ReplyPiece::Kind::kArguments, "{}");
  at_ = At::kOver;
  return Step::kDone;
}

}  // namespace foregate
