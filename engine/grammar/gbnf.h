// Grammars as users of llama.cpp write them (GBNF), with the rule `root` as the start: strings, character classes, `.`,
// groups, choices, `* + ? {m} {m,} {m,n}`, comments. Lines may be broken anywhere. Pure.
#pragma once

#include <string_view>

#include "engine/base/status.h"
#include "engine/grammar/expr.h"
#include "engine/grammar/limits.h"

namespace foregate::grammar {

// kInvalidArgument says where the text goes wrong.
Result<Grammar> parse_gbnf(std::string_view source, const GrammarLimits& limits);

}  // namespace foregate::grammar
