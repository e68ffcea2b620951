// The one logger. Lines go to stderr as "time level message key=value ...". Thread-safe.
// Values from clients must pass through `quoted`, which escapes control characters and cuts length.
#pragma once

#include <string>
#include <string_view>

namespace foregate {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

void set_log_level(LogLevel level);
bool parse_log_level(std::string_view name, LogLevel* level);  // debug | info | warn | error
void log_line(LogLevel level, std::string_view message);
inline void log_debug(std::string_view message) {
  log_line(LogLevel::kDebug, message);
}
inline void log_info(std::string_view message) {
  log_line(LogLevel::kInfo, message);
}
inline void log_warn(std::string_view message) {
  log_line(LogLevel::kWarn, message);
}
inline void log_error(std::string_view message) {
  log_line(LogLevel::kError, message);
}

// Printable form of untrusted bytes, in double quotes, at most `limit` bytes of them.
std::string quoted(std::string_view text, std::size_t limit = 200);

}  // namespace foregate
