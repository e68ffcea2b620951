#include "server/openai/members.h"

#include <nlohmann/json.hpp>

namespace foregate {

Status bad_member(const std::string& field, const std::string& what) {
  return invalid_argument(field + " " + what, field);
}

const Json* member(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_member(const Json& object, const char* name) {
  const Json* found = member(object, name);
  return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace foregate
