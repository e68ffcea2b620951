#include "kernels/api/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace foregate {
namespace {
std::atomic<std::uint64_t> g_bugs{0};
std::atomic<bool> g_fatal{false};
}  // namespace

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "CHECK failed: %s at %s:%d\n", condition, file, line);
  std::abort();
}

bool bug_found(const char* condition, const char* file, int line) {
  g_bugs.fetch_add(1, std::memory_order_relaxed);
  std::fprintf(stderr, "BUG: %s at %s:%d\n", condition, file, line);
  if (bugs_are_fatal()) std::abort();
  return true;
}

void make_bugs_fatal() {
  g_fatal.store(true, std::memory_order_relaxed);
}
bool bugs_are_fatal() {
  return g_fatal.load(std::memory_order_relaxed);
}
std::uint64_t bugs_found() {
  return g_bugs.load(std::memory_order_relaxed);
}

}  // namespace foregate
