#include "engine/text/tokenizer_fields.h"

#include <nlohmann/json.hpp>

#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {

using nlohmann::json;

namespace {

Status wrong(const std::string& where, const char* key, const char* want) {
  const std::string field = where + "." + key;
  return data_loss(field + " must be " + want, field);
}

}  // namespace

const json* member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::string> text_field(const json& object, const char* key, const std::string& where) {
  const json* value = member(object, key);
  if (value == nullptr || !value->is_string()) return wrong(where, key, "a string");
  return value->get<std::string>();
}

Result<std::string> character_field(const json& object, const char* key, const std::string& where) {
  ASSIGN_OR_RETURN(auto text, text_field(object, key, where));
  if (text.empty() || utf8_length(text[0]) != text.size()) return wrong(where, key, "one character");
  return text;
}

Result<bool> flag_field(const json& object, const char* key, const std::string& where, std::optional<bool> otherwise) {
  const json* value = member(object, key);
  if (value == nullptr && otherwise) return *otherwise;
  if (value == nullptr || !value->is_boolean()) return wrong(where, key, "true or false");
  return value->get<bool>();
}

Result<std::int64_t> count_field(const json& object, const char* key, const std::string& where) {
  const json* value = member(object, key);
  if (value == nullptr || !value->is_number_integer()) return wrong(where, key, "a whole number");
  if (value->is_number_unsigned() && value->get<std::uint64_t>() > INT32_MAX) return wrong(where, key, "below 2^31");
  const auto number = value->get<std::int64_t>();
  if (number < 0 || number > INT32_MAX) return wrong(where, key, "between 0 and 2^31");
  return number;
}

Result<const json*> array_field(const json& object, const char* key, const std::string& where) {
  const json* value = member(object, key);
  if (value == nullptr || !value->is_array()) return wrong(where, key, "an array");
  return value;
}

}  // namespace foregate::tok
