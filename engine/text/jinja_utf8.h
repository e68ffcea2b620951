// Unicode as Python's str sees it: code points, white space, case. Texts are valid UTF-8 (checked
// where they enter). Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text/jinja_value.h"

namespace foregate::jinja {

bool valid_utf8(std::string_view text);
// Code point that starts at byte `at`; moves `at` past it.
char32_t next_code_point(std::string_view text, std::size_t* at);
void append_code_point(std::string& out, char32_t c);
std::size_t count_code_points(std::string_view text);
std::int64_t length(const Str& text);  // code points, counted once
// Byte offset of code point `index` (clamped to the end).
std::size_t byte_offset(const Str& text, std::int64_t index);

bool is_space(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_alnum(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_printable(char32_t c);
bool is_line_end(char32_t c);           // str.splitlines() boundaries
bool all_upper(std::string_view text);  // str.isupper(): a cased letter, none of the other case
bool all_lower(std::string_view text);
std::size_t skip_space(std::string_view text, std::size_t at);
std::string_view strip_right(std::string_view text);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);  // str.title()
std::string swap_case(std::string_view text);

}  // namespace foregate::jinja
