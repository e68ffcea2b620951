// Text of prompts and lines of files, shared by the datasets. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

// `count` words of a stream of their own: equal (seed, stream) give equal text.
std::string load_words(std::uint64_t seed, std::uint64_t stream, int count);
// The fields of a body that hold `text`.
std::string load_input(const std::string& text, bool chat);
std::vector<std::string_view> load_lines(std::string_view text);  // without their ends
Status wrong_load_line(std::size_t number, const std::string& what);

}  // namespace foregate
