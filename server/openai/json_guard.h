// A look at a JSON text before it is parsed: depth and member counts, so that parsing it cannot cost
// more than its size deserves. One pass, no allocation to speak of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/api/limits.h"
#include "engine/base/status.h"

namespace foregate {

struct JsonLimits {
  std::size_t depth = kMaxJsonDepth;
  // Sum over all objects of (members squared): insertion into an ordered object looks at each member.
  std::uint64_t member_cost = kMaxJsonMemberCost;
  std::size_t values = kMaxJsonValues;
};

// The Status names the top-level member in which a limit was passed. Syntax errors are left to the parser.
Status check_json_shape(std::string_view text, const JsonLimits& limits = {});

}  // namespace foregate
