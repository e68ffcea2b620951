// What a request demands of the form of its output: OpenAI's response_format, vLLM's structured_outputs and its older
// guided_* fields, llama-server's grammar and json_schema. Inner part of server/openai; a worker's work.
#pragma once

#include <memory>
#include <string>

#include "engine/api/constraint.h"
#include "server/openai/api_request.h"
#include "server/openai/fields.h"

namespace foregate {

// Null when any text will do. `calls`: as of GrammarSpec. Errors name the field; kUnimplemented also for kinds that are
// known and not supported.
Result<std::shared_ptr<const TokenConstraint>> read_output_form(const Json& body, const ApiContext& context,
                                                                const grammar::FreeStart& before = {},
                                                                const std::string& calls = {});

}  // namespace foregate
