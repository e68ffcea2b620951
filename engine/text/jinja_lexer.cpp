#include "engine/text/jinja_lexer.h"

#include <algorithm>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_string_literal.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_digit_char(char c) {
  return c >= '0' && c <= '9';
}
bool starts_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)), text_(source_) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) data();
    push(Tok::kEnd, {});
    return std::move(tokens_);
  }

 private:
  bool here(std::string_view s) const { return text_.substr(at_, s.size()) == s; }
  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + at_, text_.begin() + to, '\n'));
    at_ = to;
  }
  void push(Tok type, std::string text) { tokens_.push_back({type, line_, std::move(text)}); }

  // Text up to the next tag, then that tag.
  void data() {
    std::size_t tag = at_;
    while (true) {
      tag = text_.find('{', tag);
      if (tag == std::string_view::npos || tag + 1 >= text_.size()) {
        push(Tok::kData, std::string(text_.substr(at_)));
        advance(text_.size());
        return;
      }
      const char next = text_[tag + 1];
      if (next == '%' || next == '{' || next == '#') break;
      ++tag;
    }
    const char type = text_[tag + 1];
    emit_data(tag, type != '{');
    if (type == '#') {
      comment();
    } else if (type == '%' && raw_begin()) {
      raw_body();
    } else {
      begin_tag(type == '%');
    }
  }

  // What '-' or lstrip_blocks leave of the text before the tag at `tag`.
  void emit_data(std::size_t tag, bool block_like) {
    std::string_view body = text_.substr(at_, tag - at_);
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    if (sign == '-') {
      body = strip_right(body);
    } else if (sign != '+' && block_like) {
      const std::size_t newline = body.rfind('\n');
      const std::size_t from = newline == std::string_view::npos ? 0 : newline + 1;
      if ((from > 0 || line_start_) && skip_space(body, from) == body.size()) body = body.substr(0, from);
    }
    if (!body.empty()) push(Tok::kData, std::string(body));
    advance(tag);
  }

  // Past "%}" and the like: '-' eats white space, otherwise blocks and comments eat one newline.
  void end_tag(std::size_t close, char sign, bool trims) {
    std::size_t to = close + 2;
    if (sign == '-') {
      to = skip_space(text_, to);
    } else if (sign != '+' && trims && to < text_.size() && text_[to] == '\n') {
      ++to;
    }
    advance(to);
    line_start_ = text_[to - 1] == '\n';
  }

  void comment() {
    const bool signed_begin = at_ + 2 < text_.size() && (text_[at_ + 2] == '-' || text_[at_ + 2] == '+');
    const std::size_t from = at_ + (signed_begin ? 3 : 2);
    const std::size_t close = text_.find("#}", from);
    if (close == std::string_view::npos) fail_at(line_, "missing end of comment tag");
    const char before = close > from ? text_[close - 1] : '\0';
    end_tag(close, before, true);
  }

  // At "{%": whether it is {% raw %}; if so moves past it.
  bool raw_begin() {
    std::size_t p = at_ + 2;
    if (p < text_.size() && (text_[p] == '-' || text_[p] == '+')) ++p;
    p = skip_space(text_, p);
    if (text_.substr(p, 3) != "raw") return false;
    p = skip_space(text_, p + 3);
    const bool strips = text_.substr(p, 1) == "-";
    if (strips) ++p;
    if (text_.substr(p, 2) != "%}") return false;
    end_tag(p, strips ? '-' : '\0', false);
    return true;
  }

  void raw_body() {
    for (std::size_t p = at_;; ++p) {
      p = text_.find("{%", p);
      if (p == std::string_view::npos) fail_at(line_, "missing end of raw directive");
      std::size_t q = p + 2;
      if (q < text_.size() && (text_[q] == '-' || text_[q] == '+')) ++q;
      q = skip_space(text_, q);
      if (text_.substr(q, 6) != "endraw") continue;
      q = skip_space(text_, q + 6);
      const char sign = q < text_.size() && (text_[q] == '-' || text_[q] == '+') ? text_[q] : '\0';
      if (sign) ++q;
      if (text_.substr(q, 2) != "%}") continue;
      emit_data(p, true);
      end_tag(q, sign, true);
      return;
    }
  }

  void begin_tag(bool block) {
    push(block ? Tok::kBlockBegin : Tok::kVariableBegin, {});
    std::size_t to = at_ + 2;
    if (to < text_.size() && (text_[to] == '-' || text_[to] == '+')) ++to;
    advance(to);
    line_start_ = false;
    brackets_.clear();
    while (!closes_tag(block)) token();
  }

  bool closes_tag(bool block) {
    advance(skip_space(text_, at_));
    if (at_ >= text_.size()) fail_at(line_, block ? "unexpected end of template in a tag" : "unclosed expression");
    if (!brackets_.empty()) return false;
    const char close = block ? '%' : '}';
    std::size_t p = at_;
    char sign = '\0';
    if (text_[p] == '-' || (block && text_[p] == '+')) sign = text_[p++];
    if (p + 1 >= text_.size() || text_[p] != close || text_[p + 1] != '}') return false;
    push(block ? Tok::kBlockEnd : Tok::kVariableEnd, {});
    end_tag(p, sign, block);
    return true;
  }

  void token() {
    const char c = text_[at_];
    if (is_digit_char(c)) return number();
    if (c == '\'' || c == '"') return string();
    if (starts_name(c) || static_cast<unsigned char>(c) >= 0x80) return name();
    operator_token();
  }

  void name() {
    std::size_t p = at_;
    while (p < text_.size()) {
      std::size_t next = p;
      const char32_t c = next_code_point(text_, &next);
      if (c != '_' && !is_alnum(c)) break;
      p = next;
    }
    if (p == at_) unexpected();
    push(Tok::kName, std::string(text_.substr(at_, p - at_)));
    advance(p);
  }

  // Digits with single '_' between them, from `p`.
  std::size_t digits(std::size_t p) const {
    while (p < text_.size() &&
           (is_digit_char(text_[p]) || (text_[p] == '_' && p + 1 < text_.size() && is_digit_char(text_[p + 1])))) {
      ++p;
    }
    return p;
  }

  void number() {
    if (text_[at_] == '0' && at_ + 1 < text_.size() &&
        std::string_view("xXoObB").find(text_[at_ + 1]) != std::string_view::npos) {
      return radix_number();
    }
    std::size_t p = digits(at_);
    bool floating = false;
    const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
    if (!after_dot && p + 1 < text_.size() && text_[p] == '.' && is_digit_char(text_[p + 1])) {
      p = digits(p + 1);
      floating = true;
    }
    if (!after_dot && p < text_.size() && (text_[p] == 'e' || text_[p] == 'E')) {
      std::size_t q = p + 1;
      if (q < text_.size() && (text_[q] == '+' || text_[q] == '-')) ++q;
      if (q < text_.size() && is_digit_char(text_[q])) {
        p = digits(q);
        floating = true;
      }
    }
    std::string spelled(text_.substr(at_, p - at_));
    std::erase(spelled, '_');
    const bool zeros = spelled.find_first_not_of('0') == std::string::npos;
    if (!floating && spelled.size() > 1 && spelled[0] == '0' && !zeros) fail_at(line_, "number with a leading zero");
    push(floating ? Tok::kFloat : Tok::kInteger, std::move(spelled));
    advance(p);
  }

  void radix_number() {
    std::size_t p = at_ + 2;
    while (p < text_.size() && (std::isxdigit(static_cast<unsigned char>(text_[p])) || text_[p] == '_')) ++p;
    std::string spelled(text_.substr(at_, p - at_));
    std::erase(spelled, '_');
    push(Tok::kInteger, std::move(spelled));
    advance(p);
  }

  void string() {
    const char quote = text_[at_];
    std::size_t p = at_ + 1;
    while (p < text_.size() && text_[p] != quote) p += text_[p] == '\\' ? 2 : 1;
    if (p >= text_.size()) fail_at(line_, "string without its closing quote");
    push(Tok::kString, decode_string_literal(text_.substr(at_ + 1, p - at_ - 1), line_));
    advance(p + 1);
  }

  void operator_token() {
    static constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    for (const std::string_view op : kTwo) {
      if (here(op)) return push_operator(op);
    }
    if (std::string_view("+-/*%~[](){}<>=.:|,;").find(text_[at_]) == std::string_view::npos) unexpected();
    push_operator(text_.substr(at_, 1));
  }

  void push_operator(std::string_view op) {
    if (op == "(" || op == "[" || op == "{") brackets_.push_back(op == "(" ? ')' : op == "[" ? ']' : '}');
    if (op == ")" || op == "]" || op == "}") {
      if (brackets_.empty() || brackets_.back() != op[0]) fail_at(line_, "unexpected '" + std::string(op) + "'");
      brackets_.pop_back();
    }
    push(Tok::kOperator, std::string(op));
    advance(at_ + op.size());
  }

  [[noreturn]] void unexpected() {
    std::size_t next = at_;
    next_code_point(text_, &next);
    fail_at(line_, "unexpected character '" + std::string(text_.substr(at_, next - at_)) + "'");
  }

  std::string source_;
  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_start_ = true;
  std::string brackets_;  // closing brackets awaited
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  if (!valid_utf8(source)) fail_at(1, "the template is not valid UTF-8");
  return Lexer(source).run();
}

}  // namespace foregate::jinja
