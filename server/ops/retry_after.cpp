#include "server/ops/retry_after.h"

#include <random>

namespace foregate {
namespace {

int drawn(int low, int high) {
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_int_distribution<int>(low, high)(random);
}

}  // namespace

std::string retry_after_seconds() {
  return std::to_string(drawn(1, 3));
}

std::string retry_pushback_ms() {
  return std::to_string(drawn(1000, 3000));
}

}  // namespace foregate
