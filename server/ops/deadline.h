// Until when a request may take: what its caller asks for, and what the server allows. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/base/clock.h"
#include "engine/base/status.h"

namespace foregate {

inline constexpr std::string_view kTimeoutHeader = "x-request-timeout-ms";

// Milliseconds of the header's value, 1 to a year of them. kInvalidArgument otherwise.
Result<std::int64_t> parse_timeout_ms(std::string_view value);

// The earlier one of `deadline` (0: none) and now + `server_seconds` (0: none); 0 when there is neither.
TimeNs earlier_deadline(TimeNs now, TimeNs deadline, double server_seconds);

}  // namespace foregate
