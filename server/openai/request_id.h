// What a client calls its request: the header x-request-id, or the member request_id of the body (vLLM's). It comes
// back in the header x-request-id and in the id of the answer, and is in the line of the log.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace foregate {

// Visible ASCII without quotes and backslashes, at most kMaxRequestIdBytes; empty: none. `field` names it in errors.
Status check_request_id(std::string_view id, const char* field);

}  // namespace foregate
