// JSON Schema as grammar: every text it lets through is JSON that the schema accepts, never the other way round. The
// keywords it knows are listed in README.md of this folder; what it does not know and would have to obey is refused by
// name.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/base/status.h"
#include "engine/grammar/expr.h"
#include "engine/grammar/limits.h"

namespace foregate::grammar {

// kUnimplemented and kInvalidArgument say which keyword of which part is meant.
Result<Grammar> grammar_of_schema(const nlohmann::ordered_json& schema, const GrammarLimits& limits);
// The same as an expression in `grammar`.
Result<ExprId> parse_schema(const nlohmann::ordered_json& schema, const GrammarLimits& limits, Grammar& grammar);
// Any JSON object.
Grammar grammar_of_any_object();

}  // namespace foregate::grammar
