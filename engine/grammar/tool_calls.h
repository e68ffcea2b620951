// Calls of tools as grammar: which tools, in which markup, with arguments that their schemas accept. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "engine/base/status.h"
#include "engine/grammar/expr.h"
#include "engine/grammar/limits.h"

namespace foregate::grammar {

// {"begin", "open", "arguments", "close", "between", "end": texts; "many": boolean; "tools": [{"name", "parameters"}]}:
// begin open {"name": NAME, ARGUMENTS: {...}} close (between open ... close)* end. The Status begins with the tool's
// name.
Result<ExprId> parse_calls(const nlohmann::ordered_json& calls, const GrammarLimits& limits, Grammar& grammar);
Result<Grammar> grammar_of_calls(const nlohmann::ordered_json& calls, const GrammarLimits& limits);

}  // namespace foregate::grammar
