// Template source to tokens, with jinja2's white-space rules under trim_blocks and lstrip_blocks:
// '-' strips, '+' keeps, a tag's own line vanishes. Newlines become "\n". Pure function.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace foregate::jinja {

enum class Tok : std::uint8_t {
  kData,
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  Tok type = Tok::kEnd;
  int line = 0;
  std::string text;  // name, operator spelling, decoded string, digits without '_', or template data
};

// Throws Error with a line number. The list ends with kEnd.
std::vector<Token> tokenize(std::string_view source);

}  // namespace foregate::jinja
