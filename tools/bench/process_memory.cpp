#include "tools/bench/process_memory.h"

#include <charconv>
#include <fstream>
#include <sstream>
#include <string>

namespace foregate {
namespace {

// /proc files have no size to check; these are a few kilobytes.
std::string read_proc(const char* path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

std::optional<std::int64_t> parse_kb_line(std::string_view text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find('\n', at);
    if (end == std::string_view::npos) end = text.size();
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(key) || !line.substr(key.size()).starts_with(':')) continue;
    line.remove_prefix(key.size() + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    std::int64_t kilobytes = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), kilobytes);
    if (error != std::errc() || kilobytes < 0 || kilobytes > INT64_MAX / 1024) return std::nullopt;
    if (std::string_view(rest, static_cast<std::size_t>(line.data() + line.size() - rest)) != " kB")
      return std::nullopt;
    return kilobytes * 1024;
  }
  return std::nullopt;
}

ProcessMemory process_memory() {
  ProcessMemory memory;
  memory.peak_rss_bytes = parse_kb_line(read_proc("/proc/self/status"), "VmHWM").value_or(0);
  memory.huge_page_bytes = parse_kb_line(read_proc("/proc/self/smaps_rollup"), "AnonHugePages").value_or(0);
  return memory;
}

bool reset_peak_rss() {
  std::ofstream out("/proc/self/clear_refs");
  out << "5";
  out.close();
  return !out.fail();
}

}  // namespace foregate
