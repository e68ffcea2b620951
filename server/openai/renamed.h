// Requests of one API that are checked in the shape of another: faults bear the names that the client used.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/status.h"

namespace foregate {

// The status with its field, and the message that begins with it, named by the second of the first pair whose first is
// the field or what the field begins with.
Status renamed(const Status& status, std::span<const std::pair<std::string_view, std::string_view>> names);

}  // namespace foregate
