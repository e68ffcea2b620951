// Binding of call arguments to parameter names, as Python does for its own functions.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "engine/text/jinja_heap.h"

namespace foregate::jinja {

class Bound {
 public:
  // Throws Error for unknown, repeated, missing (below `required`) or surplus arguments.
  Bound(std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
        std::size_t required = 0);
  bool has(std::size_t i) const { return values_[i] != nullptr; }
  bool given(std::size_t i) const { return has(i) && !values_[i]->none(); }  // neither absent nor None
  const Value& operator[](std::size_t i) const { return *values_[i]; }
  std::int64_t integer(std::size_t i, std::int64_t otherwise) const;
  bool flag(std::size_t i, bool otherwise) const { return has(i) ? truthy(*values_[i]) : otherwise; }
  const Str& text(std::size_t i) const;  // throws unless a string

 private:
  std::string_view function_;
  std::array<const Value*, 6> values_{};
};

}  // namespace foregate::jinja
