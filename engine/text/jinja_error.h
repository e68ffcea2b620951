// How the template interpreter's files tell one another that something failed. The exception stays
// inside engine/text/jinja_*: compile and render catch it and give a Status. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/status.h"

namespace foregate::jinja {

struct Error {
  Status status;
  bool verbatim = false;  // the template's own words (raise_exception): no line number is added
};

[[noreturn]] void fail(std::string message);               // wrong template or wrong values
[[noreturn]] void refuse(std::string message);             // understood, not supported
[[noreturn]] void exhausted(const char* what);             // a budget is spent
[[noreturn]] void fail_at(int line, std::string message);  // syntax error
[[noreturn]] void refuse_at(int line, std::string message);

}  // namespace foregate::jinja
