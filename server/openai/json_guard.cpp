#include "server/openai/json_guard.h"

#include <string>
#include <vector>

namespace foregate {
namespace {

// Position after the closing quote of the string that opens at `begin`.
std::size_t skip_string(std::string_view text, std::size_t begin) {
  std::size_t i = begin + 1;
  while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
  return i + 1;
}

}  // namespace

Status check_json_shape(std::string_view text, const JsonLimits& limits) {
  // The parser takes a NUL byte as the end of the text and would not see what follows.
  if (text.find('\0') != std::string_view::npos) return invalid_argument("the JSON holds a NUL byte");
  std::vector<std::uint64_t> members;  // of the containers that are open
  std::string field;                   // top-level member under way
  std::string_view last_string;
  std::uint64_t cost = 0;
  std::size_t values = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"') {
      const std::size_t end = skip_string(text, i);
      if (end <= text.size()) last_string = text.substr(i + 1, end - i - 2);
      i = end;
      continue;
    }
    if (c == '{' || c == '[') {
      members.push_back(0);
      if (members.size() > limits.depth) {
        return invalid_argument("the JSON is nested deeper than " + std::to_string(limits.depth), field);
      }
    } else if (c == '}' || c == ']') {
      if (!members.empty()) members.pop_back();
    } else if (c == ':' && !members.empty()) {
      cost += 2 * members.back() + 1;  // (m + 1)^2 - m^2
      ++members.back();
      if (members.size() == 1) field = std::string(last_string.substr(0, 64));
      if (cost > limits.member_cost) return invalid_argument("a JSON object has too many members", field);
    }
    if ((c == ',' || c == ':') && ++values > limits.values) {
      return invalid_argument("the JSON holds too many values", field);
    }
    ++i;
  }
  return {};
}

}  // namespace foregate
