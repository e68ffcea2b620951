#include "server/ops/deadline.h"

#include <algorithm>
#include <charconv>
#include <string>

namespace foregate {
namespace {

constexpr std::int64_t kYearMs = 365ll * 86400 * 1000;

}  // namespace

Result<std::int64_t> parse_timeout_ms(std::string_view value) {
  std::int64_t ms = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), ms);
  if (error == std::errc() && end == value.data() + value.size() && ms >= 1 && ms <= kYearMs) return ms;
  return invalid_argument("X-Request-Timeout-Ms must be a whole number of milliseconds from 1 to a year",
                          std::string(kTimeoutHeader));
}

TimeNs earlier_deadline(TimeNs now, TimeNs deadline, double server_seconds) {
  if (server_seconds <= 0) return deadline;
  const TimeNs allowed = now + static_cast<TimeNs>(server_seconds * 1e9);
  return deadline == 0 ? allowed : std::min(deadline, allowed);
}

}  // namespace foregate
