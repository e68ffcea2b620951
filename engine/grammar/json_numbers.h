// Decimal numbers between bounds, as grammar. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/grammar/expr.h"

namespace foregate::grammar {

inline constexpr std::int64_t kMostDigits = 18;  // of a whole part that has no upper bound

struct Bound {
  std::int64_t value = 0;
  bool open = false;  // the value itself lies outside
};

// Whole numbers; an expression that reads nothing when none lies between the bounds.
ExprId integer_between(std::optional<Bound> least, std::optional<Bound> most, Grammar& grammar);
// With up to 18 decimals, without an exponent.
ExprId number_between(std::optional<Bound> least, std::optional<Bound> most, Grammar& grammar);

}  // namespace foregate::grammar
