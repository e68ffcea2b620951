#include "engine/grammar/schema_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

namespace foregate::grammar {
namespace {

struct TypeName {
  const char* name;
  unsigned bit;
};
constexpr TypeName kTypeNames[] = {{"null", kNull},     {"boolean", kBoolean}, {"integer", kInteger},
                                   {"number", kNumber}, {"string", kString},   {"array", kArray},
                                   {"object", kObject}};

// Keywords that restrict values. What is not here says nothing about them, as the specification has it.
constexpr const char* kAssertions[] = {"$ref",
                                       "$dynamicRef",
                                       "$recursiveRef",
                                       "type",
                                       "enum",
                                       "const",
                                       "anyOf",
                                       "oneOf",
                                       "allOf",
                                       "not",
                                       "if",
                                       "then",
                                       "else",
                                       "minimum",
                                       "maximum",
                                       "exclusiveMinimum",
                                       "exclusiveMaximum",
                                       "multipleOf",
                                       "minLength",
                                       "maxLength",
                                       "pattern",
                                       "format",
                                       "items",
                                       "prefixItems",
                                       "additionalItems",
                                       "unevaluatedItems",
                                       "minItems",
                                       "maxItems",
                                       "uniqueItems",
                                       "contains",
                                       "minContains",
                                       "maxContains",
                                       "properties",
                                       "required",
                                       "additionalProperties",
                                       "unevaluatedProperties",
                                       "patternProperties",
                                       "propertyNames",
                                       "minProperties",
                                       "maxProperties",
                                       "dependentRequired",
                                       "dependentSchemas",
                                       "dependencies"};

unsigned type_bit(const Json& name) {
  for (const TypeName& row : kTypeNames) {
    if (name == row.name) return row.bit;
  }
  return 0;
}

// A number that is whole, also when written as 3.0.
std::optional<std::int64_t> whole_value(const Json& value) {
  if (value.is_number_unsigned()) {
    return static_cast<std::int64_t>(std::min<std::uint64_t>(value.get<std::uint64_t>(), 4'000'000'000'000'000'000ULL));
  }
  if (value.is_number_integer()) return std::max<std::int64_t>(value.get<std::int64_t>(), -4'000'000'000'000'000'000LL);
  const double number = value.get<double>();
  if (number != std::floor(number) || std::fabs(number) > 9e15) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

// A bound of integers may lie between two of them.
Result<std::optional<Bound>> bound_of(const Json& schema, const char* keyword, bool open, bool integers, bool below,
                                      const std::string& where) {
  const auto found = schema.find(keyword);
  if (found == schema.end()) return std::optional<Bound>();
  if (!found->is_number())
    return schema_error(Code::kInvalidArgument, where, std::string(keyword) + " must be a number");
  if (const auto whole = whole_value(*found)) return std::optional(Bound{*whole, open});
  const double number = found->get<double>();
  if (!integers || !(std::fabs(number) < 9e15)) {
    return schema_error(Code::kUnimplemented, where, std::string(keyword) + " is supported for whole numbers only");
  }
  return std::optional(Bound{static_cast<std::int64_t>(below ? std::ceil(number) : std::floor(number)), false});
}

std::vector<Json> listed_values(const Json& schema) {
  if (schema.contains("const")) return {schema["const"]};
  if (schema.contains("enum") && schema["enum"].is_array()) return schema["enum"].get<std::vector<Json>>();
  return {};
}

bool requires_property(const Json& schema, const std::string& name) {
  if (!schema.contains("required") || !schema["required"].is_array()) return false;
  const auto& list = schema["required"];
  return std::find(list.begin(), list.end(), name) != list.end();
}

bool values_apart(const Json& a, const Json& b) {
  const std::vector<Json> first = listed_values(a), second = listed_values(b);
  if (first.empty() || second.empty() || first.size() * second.size() > 10'000) return false;
  return std::none_of(first.begin(), first.end(), [&second](const Json& value) {
    return std::find(second.begin(), second.end(), value) != second.end();
  });
}

const Json& without_reference(const Json& root, const Json& schema) {
  const Json* at = &schema;
  for (int hops = 0; hops < 8 && at->is_object() && at->contains("$ref") && (*at)["$ref"].is_string(); ++hops) {
    const Json* next = resolve(root, (*at)["$ref"].get_ref<const std::string&>());
    if (next == nullptr) break;
    at = next;
  }
  return *at;
}

}  // namespace

Status schema_error(Code code, const std::string& where, const std::string& what) {
  return Status(code, "at " + where.substr(0, 200) + ": " + what);
}

Result<std::optional<unsigned>> named_types(const Json& schema, const std::string& where) {
  const auto type = schema.find("type");
  if (type == schema.end()) return std::optional<unsigned>();
  unsigned types = 0;
  if (type->is_string()) types = type_bit(*type);
  if (type->is_array() && !type->empty()) {
    for (const Json& name : *type) {
      const unsigned bit = type_bit(name);
      if (bit == 0) return schema_error(Code::kInvalidArgument, where, "type names something that is not a JSON type");
      types |= bit;
    }
  }
  if (types == 0)
    return schema_error(Code::kInvalidArgument, where, "type must be the name of a JSON type, or a list of them");
  return std::optional(types);
}

unsigned type_of_value(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return kNull;
    case Json::value_t::boolean: return kBoolean;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return kInteger;
    case Json::value_t::number_float:
      return value.get<double>() == std::floor(value.get<double>()) ? kInteger : kNumber;
    case Json::value_t::string: return kString;
    case Json::value_t::array: return kArray;
    default: return kObject;
  }
}

unsigned possible_types(const Json& schema) {
  if (!schema.is_object()) return kAllTypes;
  const auto named = named_types(schema, "");
  if (named.ok() && named.value().has_value()) return *named.value();
  unsigned types = 0;
  for (const Json& value : listed_values(schema)) types |= type_of_value(value);
  return types == 0 ? kAllTypes : types;
}

std::string first_of(const Json& schema, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (schema.contains(name)) return name;
  }
  return {};
}

std::string other_assertion(const Json& schema, std::initializer_list<const char*> allowed) {
  for (const char* name : kAssertions) {
    const bool expected =
        std::any_of(allowed.begin(), allowed.end(), [name](const char* a) { return std::string_view(a) == name; });
    if (!expected && schema.contains(name)) return name;
  }
  return {};
}

Result<std::optional<std::int32_t>> count_of(const Json& schema, const char* keyword, std::int32_t most,
                                             const std::string& where) {
  const auto found = schema.find(keyword);
  if (found == schema.end()) return std::optional<std::int32_t>();
  const auto whole = found->is_number() ? whole_value(*found) : std::nullopt;
  if (!whole || *whole < 0) {
    return schema_error(Code::kInvalidArgument, where,
                        std::string(keyword) + " must be a whole number that is not negative");
  }
  if (*whole > most) {
    return schema_error(Code::kUnimplemented, where,
                        std::string(keyword) + " is supported up to " + std::to_string(most));
  }
  return std::optional(static_cast<std::int32_t>(*whole));
}

Result<Bounds> bounds_of(const Json& schema, bool integers, const std::string& where) {
  Bounds bounds;
  ASSIGN_OR_RETURN(bounds.least, bound_of(schema, "minimum", false, integers, true, where));
  ASSIGN_OR_RETURN(bounds.most, bound_of(schema, "maximum", false, integers, false, where));
  ASSIGN_OR_RETURN(const auto above, bound_of(schema, "exclusiveMinimum", true, integers, true, where));
  ASSIGN_OR_RETURN(const auto under, bound_of(schema, "exclusiveMaximum", true, integers, false, where));
  if (above && (!bounds.least || above->value >= bounds.least->value)) bounds.least = above;
  if (under && (!bounds.most || under->value <= bounds.most->value)) bounds.most = under;
  return bounds;
}

const Json* resolve(const Json& root, const std::string& reference) {
  if (reference == "#") return &root;
  if (reference.rfind("#/", 0) != 0) return nullptr;
  try {
    const Json::json_pointer pointer(reference.substr(1));
    return root.contains(pointer) ? &root.at(pointer) : nullptr;
  } catch (const Json::exception&) {  // a pointer that is not well-formed
    return nullptr;
  }
}

bool disjoint(const Json& root, const Json& first, const Json& second) {
  const Json& a = without_reference(root, first);
  const Json& b = without_reference(root, second);
  const auto spread = [](unsigned types) { return (types & kNumber) != 0 ? types | kInteger : types; };
  if ((spread(possible_types(a)) & spread(possible_types(b))) == 0) return true;
  if (!a.is_object() || !b.is_object()) return false;
  if (values_apart(a, b)) return true;
  if (possible_types(a) != kObject || possible_types(b) != kObject) return false;
  const auto properties = a.find("properties"), others = b.find("properties");
  if (properties == a.end() || others == b.end() || !properties->is_object() || !others->is_object()) return false;
  for (const auto& [name, property] : properties->items()) {
    const auto other = others->find(name);
    if (other == others->end() || !requires_property(a, name) || !requires_property(b, name)) continue;
    const Json &one = without_reference(root, property), &two = without_reference(root, *other);
    if (one.is_object() && two.is_object() && values_apart(one, two)) return true;
  }
  return false;
}

}  // namespace foregate::grammar
