// The trace that a request belongs to, as its caller says it: W3C Trace Context (https://www.w3.org/TR/trace-context/),
// header `traceparent`. Pure.
#pragma once

#include <string>
#include <string_view>

namespace foregate {

struct TraceParent {
  std::string trace_id;   // 32 lower-case hexadecimal digits; empty: the caller says none
  std::string parent_id;  // 16 of them: the caller's span
  bool sampled = false;
};

// What is malformed counts as none, as the standard wants it.
TraceParent parse_traceparent(std::string_view value);

}  // namespace foregate
