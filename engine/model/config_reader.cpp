#include "engine/model/config_reader.h"

#include <nlohmann/json.hpp>

#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

std::string range_text(const std::string& low, const std::string& high) {
  return "must lie between " + low + " and " + high;
}

}  // namespace

ConfigReader::ConfigReader(const Json& object, std::string file, std::string prefix)
    : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {
  if (!object_.is_object()) status_ = invalid_argument(file_ + ": " + prefix_ + " is not a JSON object", prefix_);
}

void ConfigReader::fail(Code code, const char* key, const std::string& what) {
  const std::string name = prefix_ + key;
  if (status_.ok()) status_ = Status(code, file_ + ": " + name + " " + what, name);
}

void ConfigReader::refuse(const char* key, const std::string& what) {
  fail(Code::kUnimplemented, key, what);
}
void ConfigReader::reject(const char* key, const std::string& what) {
  fail(Code::kInvalidArgument, key, what);
}

void ConfigReader::merge(const Status& status) {
  if (status_.ok()) status_ = status;
}

const Json* ConfigReader::find(const char* key) const {
  if (!object_.is_object()) return nullptr;
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

bool ConfigReader::has(const char* key) const {
  return find(key) != nullptr;
}

const Json* ConfigReader::require(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) reject(key, "is missing");
  return value;
}

bool ConfigReader::checked_integer(const char* key, const Json& value, std::int64_t low, std::int64_t high,
                                   std::int64_t& out) {
  if (!value.is_number_integer()) {
    reject(key, "is not an integer");
    return false;
  }
  const bool too_big = value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX;
  out = too_big ? INT64_MAX : value.get<std::int64_t>();
  if (too_big || out < low || out > high) {
    reject(key, range_text(std::to_string(low), std::to_string(high)));
    return false;
  }
  return true;
}

std::int64_t ConfigReader::integer(const char* key, std::int64_t low, std::int64_t high) {
  std::int64_t out = low;
  const Json* value = require(key);
  return value != nullptr && checked_integer(key, *value, low, high, out) ? out : low;
}

std::int64_t ConfigReader::integer_or(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback) {
  return has(key) ? integer(key, low, high) : fallback;
}

double ConfigReader::number(const char* key, double low, double high) {
  const Json* value = require(key);
  if (value == nullptr) return low;
  if (!value->is_number()) {
    reject(key, "is not a number");
    return low;
  }
  const double out = value->get<double>();
  if (out >= low && out <= high) return out;  // false for NaN
  reject(key, range_text(Json(low).dump(), Json(high).dump()));
  return low;
}

double ConfigReader::number_or(const char* key, double low, double high, double fallback) {
  return has(key) ? number(key, low, high) : fallback;
}

bool ConfigReader::boolean_or(const char* key, bool fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  reject(key, "is not true or false");
  return fallback;
}

std::string ConfigReader::text_or(const char* key, const std::string& fallback) {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (value->is_string()) return value->get<std::string>();
  reject(key, "is not a string");
  return fallback;
}

std::vector<std::int64_t> ConfigReader::integers(const char* key, std::int64_t low, std::int64_t high,
                                                 std::size_t max_count) {
  std::vector<std::int64_t> out;
  const Json* value = find(key);
  if (value == nullptr) return out;
  if (!value->is_array() || value->size() > max_count) {
    reject(key, "is not a list of at most " + std::to_string(max_count) + " integers");
    return out;
  }
  for (const Json& item : *value) {
    std::int64_t number = 0;
    if (!checked_integer(key, item, low, high, number)) return {};
    out.push_back(number);
  }
  return out;
}

std::vector<std::string> ConfigReader::texts(const char* key, std::size_t max_count) {
  std::vector<std::string> out;
  const Json* value = find(key);
  if (value == nullptr) return out;
  bool fits = value->is_array() && value->size() <= max_count;
  for (std::size_t i = 0; fits && i < value->size(); ++i) {
    fits = (*value)[i].is_string();
    if (fits) out.push_back((*value)[i].get<std::string>());
  }
  if (!fits) reject(key, "is not a list of at most " + std::to_string(max_count) + " strings");
  return out;
}

std::vector<std::int64_t> ConfigReader::integer_or_list(const char* key, std::int64_t low, std::int64_t high) {
  constexpr std::size_t kMaxIds = 256;
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (value->is_array()) return integers(key, low, high, kMaxIds);
  return {integer(key, low, high)};
}

const Json* ConfigReader::object(const char* key) {
  const Json* value = find(key);
  if (value == nullptr || value->is_object()) return value;
  reject(key, "is not an object");
  return nullptr;
}

}  // namespace foregate
