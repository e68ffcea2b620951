// Backslash escapes of string literals, as Python's unicode-escape reads them. Pure function.
#pragma once

#include <string>
#include <string_view>

namespace foregate::jinja {

// `body` is what stands between the quotes. Throws Error naming the line for broken escapes.
std::string decode_string_literal(std::string_view body, int line);

}  // namespace foregate::jinja
