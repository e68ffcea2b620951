// Reads typed, bounded members of a JSON object; the first fault is kept with the member's name.
// Inner part of server/openai; one thread.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

using Json = nlohmann::ordered_json;

// Parses a request body within JsonLimits; it must be an object.
Result<Json> parse_object(std::string_view body);

class Fields {
 public:
  // `object` must outlive this. `prefix` stands before names in errors, e.g. "stream_options.".
  explicit Fields(const Json& object, std::string prefix = {}) : object_(object), prefix_(std::move(prefix)) {}

  const Json* find(const char* name) const;  // null when absent or JSON null
  // Each leaves `out` alone when the member is absent or null, or a fault was found before.
  void boolean(const char* name, bool& out);
  void integer(const char* name, std::int64_t low, std::int64_t high, std::int64_t& out);
  void number(const char* name, float& out);
  void text(const char* name, std::size_t max_bytes, std::string& out);
  void integers(const char* name, std::size_t max_entries, std::int64_t low, std::int64_t high,
                std::vector<std::int32_t>& out);

  void fail(const char* name, const std::string& what);
  void fail_with(Status status);
  const Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }

 private:
  std::string full(const char* name) const { return prefix_ + name; }
  const Json& object_;
  std::string prefix_;
  Status status_;
};

// A JSON number that is a whole number in int64, also when written as 3.0.
std::optional<std::int64_t> whole_number(const Json& value);

}  // namespace foregate
