// Regular expressions as JavaScript has them (ECMA-262), as far as they are regular: characters, classes, groups,
// choices and counts; \d \w \s mean ASCII. Look-around, back-references, \b and \p are refused by name. Pure.
#pragma once

#include <string_view>

#include "engine/base/status.h"
#include "engine/grammar/expr.h"
#include "engine/grammar/limits.h"

namespace foregate::grammar {

enum class RegexUse {
  kWholeText,    // the text is what matches; ^ and $ at its ends say nothing new
  kJsonContent,  // what is between the quotes of a JSON string whose value matches somewhere, escapes as JSON wants
                 // them
};

// An expression in `grammar`. kInvalidArgument and kUnimplemented say what is wrong.
Result<ExprId> parse_regex(std::string_view pattern, RegexUse use, const GrammarLimits& limits, Grammar& grammar);

}  // namespace foregate::grammar
