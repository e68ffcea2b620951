// When a refused client may come back: a little later, and not all at the same time. Thread-safe.
#pragma once

#include <string>

namespace foregate {

std::string retry_after_seconds();  // 1 to 3, for Retry-After
std::string retry_pushback_ms();    // 1000 to 3000, for gRPC

}  // namespace foregate
