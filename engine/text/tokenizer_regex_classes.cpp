#include "engine/text/tokenizer_regex_classes.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace foregate::tok {
namespace {

// Unicode White_Space. PCRE2's \s has U+180E in addition.
constexpr std::string_view kSpace =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
    "\\x{202f}\\x{205f}\\x{3000}";

using Names = std::pair<std::string_view, std::string_view>;

constexpr std::array<Names, 38> kLongNames{{
    {"letter", "l"},
    {"uppercaseletter", "lu"},
    {"lowercaseletter", "ll"},
    {"titlecaseletter", "lt"},
    {"modifierletter", "lm"},
    {"otherletter", "lo"},
    {"mark", "m"},
    {"nonspacingmark", "mn"},
    {"spacingmark", "mc"},
    {"enclosingmark", "me"},
    {"number", "n"},
    {"decimalnumber", "nd"},
    {"letternumber", "nl"},
    {"othernumber", "no"},
    {"punctuation", "p"},
    {"connectorpunctuation", "pc"},
    {"dashpunctuation", "pd"},
    {"openpunctuation", "ps"},
    {"closepunctuation", "pe"},
    {"initialpunctuation", "pi"},
    {"finalpunctuation", "pf"},
    {"otherpunctuation", "po"},
    {"symbol", "s"},
    {"mathsymbol", "sm"},
    {"currencysymbol", "sc"},
    {"modifiersymbol", "sk"},
    {"othersymbol", "so"},
    {"separator", "z"},
    {"spaceseparator", "zs"},
    {"lineseparator", "zl"},
    {"paragraphseparator", "zp"},
    {"other", "c"},
    {"control", "cc"},
    {"format", "cf"},
    {"privateuse", "co"},
    {"unassigned", "cn"},
    {"alpha", "alphabetic"},
    {"digit", "nd"},
}};

constexpr std::array<std::string_view, 36> kCategories{
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp", "C",  "Cc", "Cf", "Co", "Cn"};

constexpr std::array<std::string_view, 20> kScripts{
    "Han",        "Hiragana", "Katakana", "Hangul", "Latin",    "Greek",    "Cyrillic", "Arabic", "Hebrew",   "Thai",
    "Devanagari", "Bengali",  "Tamil",    "Telugu", "Armenian", "Georgian", "Ethiopic", "Khmer",  "Bopomofo", "Common"};

bool same_name(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() && std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == y;
         });
}

}  // namespace

std::string class_shorthand(char letter) {
  switch (letter) {
    case 's': return std::string(kSpace);
    case 'd': return *class_property("Nd");
    case 'h': return "0-9A-Fa-f";
    default: return "\\p{Alphabetic}" + *class_property("M") + *class_property("Nd") + *class_property("Pc");
  }
}

std::optional<std::string> class_property(std::string_view name) {
  std::string lower;
  for (const char c : name) {
    if (c != ' ' && c != '_' && c != '-')
      lower.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  for (const auto& [long_name, short_name] : kLongNames) {
    if (lower == long_name) lower = short_name;
  }
  if (lower == "space" || lower == "whitespace") return std::string(kSpace);
  if (lower == "any") return "\\x{0}-\\x{10ffff}";
  if (lower == "alphabetic") return "\\p{Alphabetic}";
  if (lower == "word") return class_shorthand('w');
  for (const std::string_view category : kCategories) {
    if (same_name(category, lower)) return "\\p{" + std::string(category) + "}";
  }
  for (const std::string_view script : kScripts) {
    if (same_name(script, lower)) return "\\p{sc:" + std::string(script) + "}";
  }
  return std::nullopt;
}

}  // namespace foregate::tok
