#include "server/openai/fields.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/json_guard.h"

namespace foregate {

Result<Json> parse_object(std::string_view body) {
  RETURN_IF_ERROR(check_json_shape(body));
  try {
    Json parsed = Json::parse(body.begin(), body.end());
    if (!parsed.is_object()) return invalid_argument("the body is not a JSON object");
    return parsed;
  } catch (const Json::parse_error& error) {
    return invalid_argument("the body is not valid JSON, at byte " + std::to_string(error.byte));
  } catch (const Json::exception&) {
    return invalid_argument("the body is not valid JSON: a number is out of range");
  }
}

std::optional<std::int64_t> whole_number(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isfinite(number) && number == std::floor(number) && std::fabs(number) < 9e15) {
      return static_cast<std::int64_t>(number);
    }
  }
  return std::nullopt;
}

const Json* Fields::find(const char* name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void Fields::fail(const char* name, const std::string& what) {
  fail_with(invalid_argument(full(name) + " " + what, full(name)));
}

void Fields::fail_with(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

void Fields::boolean(const char* name, bool& out) {
  const Json* value = find(name);
  if (value == nullptr || !ok()) return;
  if (!value->is_boolean()) return fail(name, "must be true or false");
  out = value->get<bool>();
}

void Fields::integer(const char* name, std::int64_t low, std::int64_t high, std::int64_t& out) {
  const Json* value = find(name);
  if (value == nullptr || !ok()) return;
  if (!value->is_number()) return fail(name, "must be a whole number");
  const auto number = whole_number(*value);
  if (!number || *number < low || *number > high) {
    return fail(name, "must be a whole number between " + std::to_string(low) + " and " + std::to_string(high));
  }
  out = *number;
}

void Fields::number(const char* name, float& out) {
  const Json* value = find(name);
  if (value == nullptr || !ok()) return;
  if (!value->is_number()) return fail(name, "must be a number");
  const double number = value->get<double>();
  if (!std::isfinite(number) || std::fabs(number) > 1e30) return fail(name, "is out of range");
  out = static_cast<float>(number);
}

void Fields::text(const char* name, std::size_t max_bytes, std::string& out) {
  const Json* value = find(name);
  if (value == nullptr || !ok()) return;
  if (!value->is_string()) return fail(name, "must be a string");
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) return fail(name, "is longer than " + std::to_string(max_bytes) + " bytes");
  out = text;
}

void Fields::integers(const char* name, std::size_t max_entries, std::int64_t low, std::int64_t high,
                      std::vector<std::int32_t>& out) {
  const Json* value = find(name);
  if (value == nullptr || !ok()) return;
  if (!value->is_array()) return fail(name, "must be a list of whole numbers");
  if (value->size() > max_entries) return fail(name, "has more than " + std::to_string(max_entries) + " entries");
  std::vector<std::int32_t> numbers;
  for (const Json& item : *value) {
    const auto number = item.is_number() ? whole_number(item) : std::nullopt;
    if (!number || *number < low || *number > high) {
      return fail(name, "must hold whole numbers between " + std::to_string(low) + " and " + std::to_string(high));
    }
    numbers.push_back(static_cast<std::int32_t>(*number));
  }
  out = std::move(numbers);
}

}  // namespace foregate
