// Log lines with named values, and the two forms of all lines: "time level message key=value" or one JSON object.
// Thread-safe, but for set_log_format(), which is called before other threads begin.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/base/log.h"

namespace foregate {

enum class LogFormat { kText, kJson };

void set_log_format(LogFormat format);

using LogValue = std::variant<std::string, std::int64_t, double>;
using LogFields = std::vector<std::pair<std::string_view, LogValue>>;

// Texts are shown as quoted() has them, or escaped as JSON wants it; what is not UTF-8 stays readable in both.
void log_fields(LogLevel level, std::string_view message, const LogFields& fields);

// One line of a format, without its time and level: what log_fields() writes.
std::string log_text(LogFormat format, std::string_view message, const LogFields& fields);

}  // namespace foregate
