// Numbers in the small text files of /proc and /sys. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace foregate {

// The number at the start of `text`, behind blanks; none when there is none, or it is negative or too large.
std::optional<std::int64_t> leading_number(std::string_view text);
// The number behind `key` on the first line that begins with it.
std::optional<std::int64_t> number_of_line(std::string_view text, std::string_view key);

}  // namespace foregate
