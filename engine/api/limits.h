// The limits of limits.def as constants. Plain data; any thread.
#pragma once

#include <cstddef>

namespace foregate {

#define SECTION(name)
#define LIMIT(constant, value, place, what, answer) inline constexpr std::size_t constant = value;
#define OPTION_LIMIT(field, what, answer)
#include "engine/api/limits.def"
#undef SECTION
#undef LIMIT
#undef OPTION_LIMIT

}  // namespace foregate
