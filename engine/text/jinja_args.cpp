#include "engine/text/jinja_args.h"

#include <algorithm>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_ops.h"

namespace foregate::jinja {

Bound::Bound(std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
             std::size_t required)
    : function_(function) {
  const std::string who(function);
  if (args.positional.size() > names.size()) fail(who + "() got too many arguments");
  for (std::size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end()) fail(who + "() got an unexpected keyword argument '" + std::string(name) + "'");
    const auto i = static_cast<std::size_t>(it - names.begin());
    if (values_[i]) fail(who + "() got multiple values for argument '" + std::string(name) + "'");
    values_[i] = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!values_[i]) fail(who + "() is missing argument '" + std::string(names.begin()[i]) + "'");
  }
}

std::int64_t Bound::integer(std::size_t i, std::int64_t otherwise) const {
  if (!has(i)) return otherwise;
  const Value& v = *values_[i];
  require_defined(v);
  if (!v.integral() || v.wide) fail(std::string(function_) + "() needs an integer, not " + type_name(v));
  return v.as_int();
}

const Str& Bound::text(std::size_t i) const {
  const Value& v = *values_[i];
  require_defined(v);
  if (!v.string()) fail(std::string(function_) + "() needs a string, not " + type_name(v));
  return *v.str;
}

}  // namespace foregate::jinja
