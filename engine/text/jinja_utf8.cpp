#include "engine/text/jinja_utf8.h"

#include <utf8proc.h>

namespace foregate::jinja {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

constexpr char32_t kSharpS = 0xDF, kCapitalSigma = 0x3A3, kSigma = 0x3C3, kFinalSigma = 0x3C2, kDottedI = 0x130;

// Letters whose capital form is more than one letter (Unicode SpecialCasing, unconditional part in
// common use).
std::string_view special_upper(char32_t c, bool title_case) {
  switch (c) {
    case kSharpS: return title_case ? "Ss" : "SS";
    case 0x149: return "\xCA\xBC\x4E";
    case 0x1F0: return "J\xCC\x8C";
    case 0xFB00: return title_case ? "Ff" : "FF";
    case 0xFB01: return title_case ? "Fi" : "FI";
    case 0xFB02: return title_case ? "Fl" : "FL";
    case 0xFB03: return title_case ? "Ffi" : "FFI";
    case 0xFB04: return title_case ? "Ffl" : "FFL";
    case 0xFB05:
    case 0xFB06: return title_case ? "St" : "ST";
    default: return {};
  }
}

void append_upper(std::string& out, char32_t c, bool title_case) {
  const std::string_view special = special_upper(c, title_case);
  if (!special.empty()) {
    out.append(special);
  } else if (title_case) {
    append_code_point(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
  } else {
    append_code_point(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}

bool case_ignorable(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xB7 ||
         c == 0x2019;
}

bool cased(char32_t c) {
  const auto k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

// A sigma is final when a cased letter stands before it and none after, ignoring marks between.
bool final_sigma(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t at = begin;
  bool before = false;
  while (at > 0) {
    do --at;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
    std::size_t copy = at;
    const char32_t c = next_code_point(text, &copy);
    if (case_ignorable(c)) continue;
    before = cased(c);
    break;
  }
  if (!before) return false;
  while (end < text.size()) {
    const char32_t c = next_code_point(text, &end);
    if (!case_ignorable(c)) return !cased(c);
  }
  return true;
}

void append_lower(std::string& out, std::string_view text, char32_t c, std::size_t begin, std::size_t end) {
  if (c == kDottedI) {
    out.append("i\xCC\x87");
  } else if (c == kCapitalSigma) {
    append_code_point(out, final_sigma(text, begin, end) ? kFinalSigma : kSigma);
  } else {
    append_code_point(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

enum class Case { kUpper, kLower, kTitle };

// Maps each code point by the case that `choose(index of code point, code point before)` says.
template <class Choose>
std::string map_case(std::string_view text, Choose choose) {
  std::string out;
  out.reserve(text.size());
  char32_t before = 0;
  bool first = true;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, &at);
    const Case wanted = choose(c, before, first);
    if (wanted == Case::kLower) {
      append_lower(out, text, c, begin, at);
    } else {
      append_upper(out, c, wanted == Case::kTitle);
    }
    before = c;
    first = false;
  }
  return out;
}

}  // namespace

bool valid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    utf8proc_int32_t c = 0;
    const auto used = utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &c);
    if (used <= 0) return false;
    at += static_cast<std::size_t>(used);
  }
  return true;
}

char32_t next_code_point(std::string_view text, std::size_t* at) {
  const auto lead = static_cast<unsigned char>(text[*at]);
  const std::size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (size == 1 || *at + size > text.size()) return static_cast<unsigned char>(text[(*at)++]);
  char32_t c = lead & (0xFF >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) c = (c << 6) | (static_cast<unsigned char>(text[*at + i]) & 0x3F);
  *at += size;
  return c;
}

void append_code_point(std::string& out, char32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

std::int64_t length(const Str& text) {
  if (text.code_points < 0) text.code_points = static_cast<std::int64_t>(count_code_points(text.bytes));
  return text.code_points;
}

std::size_t byte_offset(const Str& text, std::int64_t index) {
  const std::int64_t total = length(text);
  if (index >= total) return text.bytes.size();
  if (total == static_cast<std::int64_t>(text.bytes.size())) return static_cast<std::size_t>(index);
  std::size_t at = 0;
  for (std::int64_t i = 0; i < index; ++i) next_code_point(text.bytes, &at);
  return at;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_alpha(char32_t c) {
  const auto k = category(c);
  return cased(c) || k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}
bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}
bool is_numeric(char32_t c) {
  const auto k = category(c);
  return is_digit(c) || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}
bool is_alnum(char32_t c) {
  return is_alpha(c) || is_numeric(c);
}
bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU;
}
bool is_lower(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA;
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

bool is_line_end(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool all_upper(std::string_view text) {
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, &at);
    if (is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT) return false;
    any = any || is_upper(c);
  }
  return any;
}

bool all_lower(std::string_view text) {
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, &at);
    if (is_upper(c) || category(c) == UTF8PROC_CATEGORY_LT) return false;
    any = any || is_lower(c);
  }
  return any;
}

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    std::size_t next = at;
    if (!is_space(next_code_point(text, &next))) break;
    at = next;
  }
  return at;
}

std::string_view strip_right(std::string_view text) {
  std::size_t end = text.size();
  while (end > 0) {
    std::size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    std::size_t at = begin;
    if (!is_space(next_code_point(text, &at))) break;
    end = begin;
  }
  return text.substr(0, end);
}

std::string upper(std::string_view text) {
  return map_case(text, [](char32_t, char32_t, bool) { return Case::kUpper; });
}
std::string lower(std::string_view text) {
  return map_case(text, [](char32_t, char32_t, bool) { return Case::kLower; });
}
std::string capitalize(std::string_view text) {
  return map_case(text, [](char32_t, char32_t, bool first) { return first ? Case::kTitle : Case::kLower; });
}
std::string title(std::string_view text) {
  return map_case(text, [](char32_t, char32_t before, bool first) {
    return first || !cased(before) ? Case::kTitle : Case::kLower;
  });
}
std::string swap_case(std::string_view text) {
  return map_case(text, [](char32_t c, char32_t, bool) { return is_upper(c) ? Case::kLower : Case::kUpper; });
}

}  // namespace foregate::jinja
