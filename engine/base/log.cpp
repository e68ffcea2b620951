#include "engine/base/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <memory>

#include "engine/base/log_fields.h"

namespace foregate {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
    case LogLevel::kOff: return spdlog::level::off;
  }
  return spdlog::level::info;
}

constexpr const char* kTextPattern = "%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v";
constexpr const char* kJsonPattern = R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l",%v})";

LogFormat now_format = LogFormat::kText;

// Control bytes and what is no ASCII as \u00xx, so that every line is JSON whatever it tells of.
std::string json_text(std::string_view text) {
  static const char* kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

std::string number_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string value_text(LogFormat format, const LogValue& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* number = std::get_if<double>(&value)) return number_text(*number);
  const auto& text = std::get<std::string>(value);
  return format == LogFormat::kJson ? json_text(text) : foregate::quoted(text);
}

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = std::make_shared<spdlog::logger>("foregate", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern(kTextPattern);
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *instance;
}

}  // namespace

void set_log_level(LogLevel level) {
  logger().set_level(to_spdlog(level));
}

bool parse_log_level(std::string_view name, LogLevel* level) {
  if (name == "debug") return *level = LogLevel::kDebug, true;
  if (name == "info") return *level = LogLevel::kInfo, true;
  if (name == "warn" || name == "warning") return *level = LogLevel::kWarn, true;
  if (name == "error") return *level = LogLevel::kError, true;
  return false;
}

void set_log_format(LogFormat format) {
  now_format = format;
  logger().set_pattern(format == LogFormat::kJson ? kJsonPattern : kTextPattern);
}

std::string log_text(LogFormat format, std::string_view message, const LogFields& fields) {
  const bool json = format == LogFormat::kJson;
  std::string line = json ? "\"message\":" + json_text(message) : std::string(message);
  for (const auto& [name, value] : fields) {
    line += json ? "," + json_text(name) + ":" : " " + std::string(name) + "=";
    line += value_text(format, value);
  }
  return line;
}

void log_fields(LogLevel level, std::string_view message, const LogFields& fields) {
  const std::string line = log_text(now_format, message, fields);
  logger().log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

void log_line(LogLevel level, std::string_view message) {
  if (now_format == LogFormat::kJson) return log_fields(level, message, {});
  logger().log(to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
}

std::string quoted(std::string_view text, std::size_t limit) {
  static const char* kHex = "0123456789abcdef";
  std::string out = "\"";
  for (unsigned char c : text.substr(0, limit)) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      out += "\\x";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += static_cast<char>(c);
    }
  }
  out += '"';
  if (text.size() > limit) out += "...(" + std::to_string(text.size()) + " bytes)";
  return out;
}

}  // namespace foregate
