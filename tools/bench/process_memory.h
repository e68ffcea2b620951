// Memory of this process as Linux counts it, for the figures beside a speed. The parsers are pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace foregate {

// Bytes of the line "`key`:  N kB" of a text as in /proc/self/status; none when it is not there.
std::optional<std::int64_t> parse_kb_line(std::string_view text, std::string_view key);

struct ProcessMemory {
  std::int64_t peak_rss_bytes = 0;   // VmHWM of /proc/self/status
  std::int64_t huge_page_bytes = 0;  // AnonHugePages of /proc/self/smaps_rollup
};
// 0 for what the system does not say.
ProcessMemory process_memory();

// Lets the peak begin anew at what is resident now; false where the system does not allow it.
bool reset_peak_rss();

}  // namespace foregate
