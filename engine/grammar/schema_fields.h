// What is read of one JSON Schema object: types, keywords that apply, references. Inner part of grammar_of_schema().
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/grammar/json_numbers.h"

namespace foregate::grammar {

using Json = nlohmann::ordered_json;

enum SchemaType : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kNumber = 8,
  kString = 16,
  kArray = 32,
  kObject = 64
};
inline constexpr unsigned kAllTypes = 127 - kInteger;  // numbers include integers

// "at #/properties/x: " and the rest, as Status of that code.
Status schema_error(Code code, const std::string& where, const std::string& what);

// The types that `type` names; none when it is absent.
Result<std::optional<unsigned>> named_types(const Json& schema, const std::string& where);
// The types that a value must have to be looked at; kAllTypes when the schema does not say.
unsigned possible_types(const Json& schema);
unsigned type_of_value(const Json& value);

// The first of `names` that the schema has; empty when none.
std::string first_of(const Json& schema, std::initializer_list<const char*> names);
// A keyword beside `allowed` that says something about the value; empty when none.
std::string other_assertion(const Json& schema, std::initializer_list<const char*> allowed);

// A count that is not negative and not above `most`.
Result<std::optional<std::int32_t>> count_of(const Json& schema, const char* keyword, std::int32_t most,
                                             const std::string& where);
struct Bounds {
  std::optional<Bound> least;
  std::optional<Bound> most;
};
Result<Bounds> bounds_of(const Json& schema, bool integers, const std::string& where);

// What "#/a/b" names; null when nothing.
const Json* resolve(const Json& root, const std::string& reference);
// True when no value can fit both, as far as types, constants and required properties tell.
bool disjoint(const Json& root, const Json& a, const Json& b);

}  // namespace foregate::grammar
