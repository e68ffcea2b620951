// Oniguruma's Ruby syntax, written again for PCRE2. A recursive descent over the pattern: whatever
// it does not know is refused, so a pattern never quietly means something else.
#include <cctype>
#include <cstdio>
#include <vector>

#include "engine/text/tokenizer_regex.h"
#include "engine/text/tokenizer_regex_classes.h"
#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxRepeat = 1000;
constexpr std::size_t kMaxOutputBytes = 1 << 20;
constexpr std::string_view kAnyCharacter = "[\\x{0}-\\x{10ffff}]";

std::string hex_escape(char32_t code_point) {
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "\\x{%x}", static_cast<unsigned>(code_point));
  return buffer;
}

// A set of characters: bracket items, and other one-character expressions joined to it.
struct CharSet {
  std::string items;
  std::vector<std::string> others;

  std::string matching() const {
    if (others.empty()) return items.empty() ? "(?!)" : "[" + items + "]";
    std::string joined = "(?:";
    if (!items.empty()) joined += "[" + items + "]|";
    for (const std::string& other : others) joined += other + "|";
    joined.back() = ')';
    return joined;
  }
  std::string excluding() const {
    if (others.empty() && !items.empty()) return "[^" + items + "]";
    return "(?:(?!" + matching() + ")" + std::string(kAnyCharacter) + ")";
  }
};

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    std::string out = alternatives(0, false);
    if (status_.ok() && !at_end()) fail("unmatched )");
    if (!status_.ok()) return status_;
    return out;
  }

 private:
  bool at_end() const { return position_ >= pattern_.size() || !status_.ok(); }
  char peek(std::size_t ahead = 0) const {
    return position_ + ahead < pattern_.size() ? pattern_[position_ + ahead] : '\0';
  }
  bool take(std::string_view text) {
    if (pattern_.substr(position_, text.size()) != text) return false;
    position_ += text.size();
    return true;
  }
  char32_t next_code_point() { return utf8_next(pattern_, &position_); }
  void fail(const std::string& why) {
    if (status_.ok())
      status_ = data_loss("broken regular expression at offset " + std::to_string(position_) + ": " + why);
  }
  std::string unsupported(const std::string& what) {
    if (status_.ok()) {
      status_ = unimplemented("regular expression at offset " + std::to_string(position_) + ": " + what +
                              " is not supported");
    }
    return {};
  }

  std::string alternatives(int depth, bool dot_all);
  std::string branch(int depth, bool dot_all);
  std::string atom(int depth, bool dot_all, bool* repeatable);
  std::string group(int depth, bool dot_all);
  std::string options_group(int depth, bool dot_all);
  std::string escape(bool* repeatable);
  bool quantified(bool first, std::string* atom);
  bool interval(std::string* bounds);
  char32_t character_escape(char letter);
  char32_t hex_digits(std::size_t at_least, std::size_t at_most);
  std::string property(bool* negated);
  std::string bracket(int depth);
  void bracket_item(int depth, CharSet* set);
  bool class_character(char32_t* code_point, CharSet* set);

  std::string_view pattern_;
  std::size_t position_ = 0;
  Status status_;
};

std::string Translator::alternatives(int depth, bool dot_all) {
  if (depth > kMaxDepth) {
    fail("nested too deep");
    return {};
  }
  std::string out = branch(depth, dot_all);
  while (!at_end() && peek() == '|') {
    ++position_;
    out += "|" + branch(depth, dot_all);
  }
  if (out.size() > kMaxOutputBytes) fail("too large");
  return out;
}

std::string Translator::branch(int depth, bool dot_all) {
  std::string out;
  while (!at_end() && peek() != '|' && peek() != ')') {
    bool repeatable = true;
    std::string piece = atom(depth, dot_all, &repeatable);
    for (bool first = true; !at_end() && quantified(first, &piece); first = false) {
      if (!repeatable) fail("nothing to repeat");
    }
    out += piece;
  }
  return out;
}

std::string Translator::atom(int depth, bool dot_all, bool* repeatable) {
  switch (peek()) {
    case '(': return group(depth, dot_all);
    case '[': return bracket(depth);
    case '.': ++position_; return dot_all ? std::string(kAnyCharacter) : "[^\\n]";
    case '^':
    case '$': *repeatable = false; return std::string(1, pattern_[position_++]);
    case '\\': return escape(repeatable);
    case '*':
    case '+':
    case '?': fail("nothing to repeat"); return {};
    default: return hex_escape(next_code_point());
  }
}

std::string Translator::group(int depth, bool dot_all) {
  static constexpr std::string_view kKept[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
  if (take("(?#")) {
    while (!at_end() && peek() != ')') ++position_;
    if (!take(")")) fail("comment without end");
    return {};
  }
  std::string open;
  for (const std::string_view kind : kKept) {
    if (take(kind)) {
      open = kind;
      break;
    }
  }
  if (open.empty()) {
    if (take("(?<")) {  // a named group; only the whole match is ever used
      while (!at_end() && (std::isalnum(static_cast<unsigned char>(peek())) || peek() == '_')) ++position_;
      if (!take(">")) return unsupported("this kind of group");
    } else if (take("(?")) {
      return options_group(depth, dot_all);
    } else {
      ++position_;
    }
    open = "(?:";
  }
  std::string out = open + alternatives(depth + 1, dot_all) + ")";
  if (!take(")")) fail("missing )");
  return out;
}

// (?im-im) to the end of the enclosing group, or (?im-im:...). Ruby's m lets the dot match newlines.
std::string Translator::options_group(int depth, bool dot_all) {
  bool on = true;
  std::string case_option;
  while (!at_end() && peek() != ')' && peek() != ':') {
    const char letter = pattern_[position_++];
    if (letter == '-') {
      on = false;
    } else if (letter == 'i') {
      case_option = on ? "i" : "-i";
    } else if (letter == 'm') {
      dot_all = on;
    } else {
      return unsupported(std::string("group option '") + letter + "'");
    }
  }
  const bool to_end_of_group = peek() == ')';
  ++position_;
  std::string out = "(?" + case_option + ":" + alternatives(depth + 1, dot_all) + ")";
  if (!to_end_of_group && !take(")")) fail("missing )");
  return out;
}

bool Translator::interval(std::string* bounds) {
  const std::size_t start = position_;
  const auto number = [&](int* value) {
    if (!std::isdigit(static_cast<unsigned char>(peek()))) return false;
    *value = 0;
    while (std::isdigit(static_cast<unsigned char>(peek())) && *value <= kMaxRepeat) {
      *value = *value * 10 + (pattern_[position_++] - '0');
    }
    if (*value > kMaxRepeat) fail("a repeat count above 1000");
    return true;
  };
  ++position_;
  int low = 0, high = 0;
  const bool has_low = number(&low);
  const bool comma = take(",");
  const bool has_high = comma && number(&high);
  if (!take("}") || (!has_low && !has_high)) {
    position_ = start;  // Ruby syntax: then the brace is an ordinary character
    return false;
  }
  if (has_high && high < low) fail("a repeat with its bounds exchanged");
  *bounds = "{" + std::to_string(low) + (comma ? "," : "") + (has_high ? std::to_string(high) : "") + "}";
  return true;
}

// One quantifier behind `atom`, which is a single unit until its `first` one. In Ruby syntax {n,m}+ repeats the
// interval and {n}? makes it optional.
bool Translator::quantified(bool first, std::string* atom) {
  const char kind = peek();
  std::string suffix;
  if (kind == '*' || kind == '+' || kind == '?') {
    ++position_;
    suffix = kind;
    if (peek() == '?' || peek() == '+') suffix += pattern_[position_++];
  } else if (kind == '{') {
    if (!interval(&suffix)) return false;
    const bool exact = suffix.find(',') == std::string::npos;
    if (!exact && take("?")) suffix += "?";
  } else {
    return false;
  }
  *atom = (first ? *atom : "(?:" + *atom + ")") + suffix;
  return true;
}

char32_t Translator::hex_digits(std::size_t at_least, std::size_t at_most) {
  char32_t value = 0;
  std::size_t count = 0;
  while (count < at_most && std::isxdigit(static_cast<unsigned char>(peek()))) {
    const char digit = pattern_[position_++];
    value = value * 16 + (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    ++count;
  }
  if (count < at_least || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) fail("a bad code point");
  return value;
}

// The character an escape stands for; `letter` is what follows the backslash, already passed.
char32_t Translator::character_escape(char letter) {
  switch (letter) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'f': return '\f';
    case 'v': return '\v';
    case 'a': return '\a';
    case 'e': return 0x1B;
    case 'u': return hex_digits(4, 4);
    case 'x': {
      if (!take("{")) {
        const char32_t value = hex_digits(1, 2);
        if (value > 0x7F) unsupported("a byte escape above \\x7f");
        return value;
      }
      const char32_t value = hex_digits(1, 8);
      if (!take("}")) fail("missing } of \\x{");
      return value;
    }
    case '0':
      if (std::isdigit(static_cast<unsigned char>(peek()))) unsupported("an octal escape");
      return 0;
    default:
      if (std::isalnum(static_cast<unsigned char>(letter))) unsupported(std::string("\\") + letter);
      return static_cast<unsigned char>(letter);
  }
}

std::string Translator::property(bool* negated) {
  *negated = pattern_[position_ - 1] == 'P';
  if (!take("{")) {
    fail("missing { of \\p");
    return {};
  }
  if (take("^")) *negated = !*negated;
  const std::size_t begin = position_;
  while (!at_end() && peek() != '}') ++position_;
  const std::string name(pattern_.substr(begin, position_ - begin));
  if (!take("}")) fail("missing } of \\p");
  const auto items = class_property(name);
  if (!items) return unsupported("the property \\p{" + name.substr(0, 40) + "}");
  *negated = *negated != items->complement;
  return items->items;
}

std::string Translator::escape(bool* repeatable) {
  if (++position_ >= pattern_.size()) {
    fail("ends with a backslash");
    return {};
  }
  if (static_cast<unsigned char>(peek()) >= 0x80) return hex_escape(next_code_point());
  const char letter = pattern_[position_++];
  const std::string word = class_shorthand('W');
  switch (letter) {
    case 's':
    case 'd':
    case 'h': return "[" + class_shorthand(letter) + "]";
    case 'w': return "[" + word + "]";
    case 'W': return "[^" + word + "]";
    case 'S':
    case 'D':
    case 'H': return "[^" + class_shorthand(static_cast<char>(letter | 0x20)) + "]";
    case 'p':
    case 'P': {
      bool negated = false;
      const std::string items = property(&negated);
      return (negated ? "[^" : "[") + items + "]";
    }
    case 'A':
    case 'z':
    case 'Z':
    case 'G': *repeatable = false; return std::string("\\") + letter;
    case 'b':
      *repeatable = false;
      return "(?:(?<=[" + word + "])(?![" + word + "])|(?<![" + word + "])(?=[" + word + "]))";
    case 'B':
      *repeatable = false;
      return "(?:(?<=[" + word + "])(?=[" + word + "])|(?<![" + word + "])(?![" + word + "]))";
    default: return hex_escape(character_escape(letter));
  }
}

// [...] with Ruby's nested classes (union) and && (intersection).
std::string Translator::bracket(int depth) {
  if (depth > kMaxDepth) {
    fail("nested too deep");
    return {};
  }
  ++position_;
  const bool negated = take("^");
  if (peek() == ']') return unsupported("a class that starts with ]");
  std::string before;  // lookaheads for the operands of && already read
  CharSet set;
  while (!at_end() && peek() != ']') {
    if (take("&&")) {
      before += "(?=" + set.matching() + ")";
      set = {};
    } else {
      bracket_item(depth, &set);
    }
  }
  if (!take("]")) fail("missing ]");
  if (!before.empty()) {
    CharSet both;
    both.others.push_back("(?:" + before + set.matching() + ")");
    set = both;
  }
  return negated ? set.excluding() : set.matching();
}

// Reads one character of a class into *code_point, or a whole set into `set` and gives false.
bool Translator::class_character(char32_t* code_point, CharSet* set) {
  if (peek() != '\\' || static_cast<unsigned char>(peek(1)) >= 0x80) {
    if (peek() == '\\') ++position_;
    *code_point = next_code_point();
    return true;
  }
  if (++position_ >= pattern_.size()) {
    fail("ends with a backslash");
    return false;
  }
  const char letter = pattern_[position_++];
  switch (letter) {
    case 's':
    case 'd':
    case 'w':
    case 'h': set->items += class_shorthand(letter); return false;
    case 'S':
    case 'D':
    case 'W':
    case 'H': set->others.push_back("[^" + class_shorthand(static_cast<char>(letter | 0x20)) + "]"); return false;
    case 'p':
    case 'P': {
      bool negated = false;
      const std::string items = property(&negated);
      if (negated) {
        set->others.push_back("[^" + items + "]");
      } else {
        set->items += items;
      }
      return false;
    }
    case 'b': *code_point = '\b'; return true;
    default: *code_point = character_escape(letter); return true;
  }
}

void Translator::bracket_item(int depth, CharSet* set) {
  if (peek() == '[') {
    if (peek(1) == ':') {
      unsupported("a POSIX bracket");
      return;
    }
    set->others.push_back(bracket(depth + 1));
    return;
  }
  char32_t first = 0, last = 0;
  if (!class_character(&first, set) || !status_.ok()) return;
  const bool range = peek() == '-' && peek(1) != ']' && peek(1) != '\0' && peek(1) != '[';
  if (!range) {
    set->items += hex_escape(first);
    return;
  }
  ++position_;
  CharSet ignored;
  if (!class_character(&last, &ignored)) {
    if (status_.ok()) unsupported("a range that ends in a class");
    return;
  }
  if (last < first) fail("a range with its ends exchanged");
  set->items += hex_escape(first) + "-" + hex_escape(last);
}

}  // namespace

Result<std::string> translate_pattern(std::string_view pattern) {
  if (utf8_first_error(pattern) != std::string_view::npos) return data_loss("the pattern is not valid UTF-8");
  return Translator(pattern).run();
}

std::string literal_pattern(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) out += hex_escape(utf8_next(text, &i));
  return out;
}

}  // namespace foregate::tok
