// A look at a JSON text before it is parsed: depth and member counts, so that parsing it cannot cost
// more than its size deserves. One pass, no allocation to speak of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/base/status.h"

namespace foregate {

struct JsonLimits {
  std::size_t depth = 64;
  // Sum over all objects of (members squared): insertion into an ordered object looks at each member.
  std::uint64_t member_cost = 50'000'000;
  std::size_t values = 2'000'000;
};

// The Status names the top-level member in which a limit was passed. Syntax errors are left to the parser.
Status check_json_shape(std::string_view text, const JsonLimits& limits = {});

}  // namespace foregate
