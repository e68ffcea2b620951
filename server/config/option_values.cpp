#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "server/config/options.h"

namespace foregate {
namespace {

// Factor of a unit suffix; 0 when unknown. Upper case and "iB" are powers of two, as vLLM reads them.
double unit_factor(std::string_view unit) {
  struct Unit {
    std::string_view name;
    double factor;
  };
  static constexpr Unit kUnits[] = {{"", 1},         {"B", 1},        {"k", 1e3},      {"m", 1e6},     {"g", 1e9},
                                    {"t", 1e12},     {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},    {"GB", 1e9},
                                    {"TB", 1e12},    {"K", 1024.0},   {"M", 0x1p20},   {"G", 0x1p30},  {"T", 0x1p40},
                                    {"KiB", 1024.0}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
  for (const Unit& known : kUnits) {
    if (known.name == unit) return known.factor;
  }
  return 0;
}

std::optional<double> parse_number(std::string_view text) {
  const std::string copy(text);
  if (copy.empty() || !(std::isdigit(static_cast<unsigned char>(copy[0])) || copy[0] == '-' || copy[0] == '.')) {
    return std::nullopt;
  }
  char* end = nullptr;
  const double value = std::strtod(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<bool> parse_switch(std::string_view text) {
  for (std::string_view word : {"true", "1", "on", "enabled"}) {
    if (text == word) return true;
  }
  for (std::string_view word : {"false", "0", "off", "disabled"}) {
    if (text == word) return false;
  }
  return std::nullopt;
}

bool is_word_of(std::string_view word, std::string_view words) {
  if (word.empty() || word.find(' ') != std::string_view::npos) return false;
  const std::string padded = " " + std::string(words) + " ";
  return padded.find(" " + std::string(word) + " ") != std::string::npos;
}

std::string plain(double value) {
  std::string text = std::to_string(value);
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

Status bad_value(const std::string& origin, std::string_view text, const std::string& wanted) {
  return invalid_argument(origin + ": \"" + std::string(text.substr(0, 100)) + "\" is not " + wanted, origin);
}

Status set_integer(std::int64_t& target, const OptionRow& row, std::string_view text, const std::string& origin) {
  const auto value = parse_count(text);
  if (!value) {
    return bad_value(
        origin, text,
        row.kind == OptionKind::kBytes ? "a number of bytes such as 4GiB" : "a whole number such as 4096 or 32k");
  }
  if (static_cast<double>(*value) < row.low || static_cast<double>(*value) > row.high) {
    return bad_value(origin, text, "between " + plain(row.low) + " and " + plain(row.high));
  }
  target = *value;
  return {};
}

Status set_number(double& target, const OptionRow& row, std::string_view text, const std::string& origin) {
  const std::string unit = row.kind == OptionKind::kSeconds ? " seconds" : "";
  const auto value = parse_number(text);
  if (!value) return bad_value(origin, text, unit.empty() ? "a number" : "a number of seconds");
  if (*value < row.low || *value > row.high) {
    return bad_value(origin, text, "between " + plain(row.low) + " and " + plain(row.high) + unit);
  }
  target = *value;
  return {};
}

Status set_choice(std::string& target, const OptionRow& row, std::string_view text, const std::string& origin) {
  if (!is_word_of(text, row.words)) return bad_value(origin, text, "one of: " + std::string(row.words));
  target = std::string(text);
  return {};
}

Status set_switch(bool& target, std::string_view text, const std::string& origin) {
  const auto value = parse_switch(text);
  if (!value) return bad_value(origin, text, "true/1/on/enabled or false/0/off/disabled");
  target = *value;
  return {};
}

}  // namespace

std::optional<std::int64_t> parse_count(std::string_view text) {
  std::size_t digits = 0;
  bool fraction = false;
  while (digits < text.size() && (std::isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.')) {
    fraction = fraction || text[digits] == '.';
    ++digits;
  }
  const double factor = unit_factor(text.substr(digits));
  if (digits == 0 || factor == 0) return std::nullopt;
  if (!fraction) {
    std::int64_t value = 0;
    for (char c : text.substr(0, digits)) {
      if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, c - '0', &value))
        return std::nullopt;
    }
    if (__builtin_mul_overflow(value, static_cast<std::int64_t>(factor), &value)) return std::nullopt;
    return value;
  }
  const auto number = parse_number(text.substr(0, digits));
  if (!number) return std::nullopt;
  const double scaled = *number * factor;
  if (scaled != std::floor(scaled) || scaled > 9e15) return std::nullopt;
  return static_cast<std::int64_t>(scaled);
}

Status set_option(ServeOptions& options, const OptionRow& row, std::string_view text, const std::string& origin) {
#define SECTION(name)
#define TEXT(name, initial, flags, help) \
  if (row.field == #name) return options.name = std::string(text), Status();
#define CHOICE(name, initial, flags, words, help) \
  if (row.field == #name) return set_choice(options.name, row, text, origin);
#define COUNT(name, initial, low, high, flags, help) \
  if (row.field == #name) return set_integer(options.name, row, text, origin);
#define BYTES(name, initial, low, high, flags, help) COUNT(name, initial, low, high, flags, help)
#define SECONDS(name, initial, low, high, flags, help) \
  if (row.field == #name) return set_number(options.name, row, text, origin);
#define RATIO(name, initial, low, high, flags, help) SECONDS(name, initial, low, high, flags, help)
#define SWITCH(name, initial, flags, help) \
  if (row.field == #name) return set_switch(options.name, text, origin);
#define LIST(name, flags, help)                                            \
  if (row.field == #name) {                                                \
    if (text.empty()) return bad_value(origin, text, "a non-empty value"); \
    return options.name.emplace_back(text), Status();                      \
  }
#include "server/config/options.def"
#include "server/config/options_undef.inc"
  return internal_error("no option " + std::string(row.field));
}

}  // namespace foregate
