// Tokens that say when they were made: six bytes of text, the monotonic clock in steps of 10 us, round after 10 s.
#pragma once

#include <sys/resource.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace foregate {

inline constexpr std::uint32_t kStamps = 1u << 20;
inline constexpr std::uint32_t kStampUs = 10;

inline std::uint32_t stamp_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::uint64_t us =
      static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
  return static_cast<std::uint32_t>(us / kStampUs) % kStamps;
}

inline std::string stamp_text(std::uint32_t stamp) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text = " 00000";
  for (std::size_t i = 5; i > 0; --i, stamp >>= 4) text[i] = kHex[stamp & 15];
  return text;
}

// `text` begins with a stamp. Microseconds from it until now.
inline std::uint32_t us_since(std::string_view text) {
  std::uint32_t stamp = 0;
  for (std::size_t i = 1; i < 6; ++i) {
    stamp = stamp * 16 + static_cast<std::uint32_t>(text[i] <= '9' ? text[i] - '0' : text[i] - 'a' + 10);
  }
  return (stamp_now() + kStamps - stamp) % kStamps * kStampUs;
}

// As many descriptors as the system lets us have.
inline void allow_many_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace foregate
