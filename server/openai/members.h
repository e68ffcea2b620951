// Members of a JSON object whose faults are named by hand: for APIs whose fields are not those that a Fields reads.
// Pure.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "server/openai/fields.h"

namespace foregate {

// kInvalidArgument: "<field> <what>".
Status bad_member(const std::string& field, const std::string& what);
// Null when it is absent or null.
const Json* member(const Json& object, const char* name);
// Empty when it is no string.
std::string text_member(const Json& object, const char* name);

}  // namespace foregate
