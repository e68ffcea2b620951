// CHECK: broken memory safety ends the process, always. BUG_IF: broken bookkeeping is fatal in
// tests (make_bugs_fatal) and counted in service; it yields true so that the caller
// can fail the one request: `if (BUG_IF(refs < 0)) return internal_error(...)`.
#pragma once

#include <cstdint>

namespace foregate {

[[noreturn]] void check_failed(const char* condition, const char* file, int line);
bool bug_found(const char* condition, const char* file, int line);
void make_bugs_fatal();  // tests and debugging runs; also turns on the per-step self checks
bool bugs_are_fatal();
std::uint64_t bugs_found();  // process-wide count, exported as foregate_bugs_total

}  // namespace foregate

#define CHECK(condition) \
  (__builtin_expect(!!(condition), 1) ? (void)0 : ::foregate::check_failed(#condition, __FILE__, __LINE__))
#define BUG_IF(condition) \
  (__builtin_expect(!!(condition), 0) ? ::foregate::bug_found(#condition, __FILE__, __LINE__) : false)
