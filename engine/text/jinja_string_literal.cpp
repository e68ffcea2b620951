#include "engine/text/jinja_string_literal.h"

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void append_hex(std::string& out, std::string_view body, std::size_t* at, int digits, int line) {
  char32_t c = 0;
  for (int i = 0; i < digits; ++i, ++*at) {
    const int d = *at < body.size() ? hex_digit(body[*at]) : -1;
    if (d < 0) fail_at(line, "string has a truncated \\x, \\u or \\U escape");
    c = c * 16 + static_cast<char32_t>(d);
  }
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) fail_at(line, "string escape is not a Unicode character");
  append_code_point(out, c);
}

void append_octal(std::string& out, std::string_view body, std::size_t* at) {
  char32_t c = 0;
  for (int i = 0; i < 3 && *at < body.size() && body[*at] >= '0' && body[*at] <= '7'; ++i, ++*at) {
    c = c * 8 + static_cast<char32_t>(body[*at] - '0');
  }
  append_code_point(out, c);
}

// The one-letter escapes; 0 for others.
char simple_escape(char c) {
  switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'a': return '\a';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'v': return '\v';
    case '\\':
    case '\'':
    case '"': return c;
    default: return 0;
  }
}

}  // namespace

std::string decode_string_literal(std::string_view body, int line) {
  std::string out;
  out.reserve(body.size());
  for (std::size_t at = 0; at < body.size();) {
    const char c = body[at++];
    if (c != '\\' || at >= body.size()) {
      out.push_back(c);
      continue;
    }
    const char e = body[at];
    if (e >= '0' && e <= '7') {
      append_octal(out, body, &at);
      continue;
    }
    ++at;
    if (const char simple = simple_escape(e)) {
      out.push_back(simple);
    } else if (e == 'x' || e == 'u' || e == 'U') {
      append_hex(out, body, &at, e == 'x' ? 2 : e == 'u' ? 4 : 8, line);
    } else if (e == 'N') {
      refuse_at(line, "string escape \\N{...} is not supported");
    } else if (e != '\n') {
      out.push_back('\\');
      out.push_back(e);
    }
  }
  return out;
}

}  // namespace foregate::jinja
