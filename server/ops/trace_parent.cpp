#include "server/ops/trace_parent.h"

#include <algorithm>

namespace foregate {
namespace {

bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_id(std::string_view text) {
  return is_hex(text) && text.find_first_not_of('0') != std::string_view::npos;
}

}  // namespace

TraceParent parse_traceparent(std::string_view value) {
  constexpr std::size_t kSize = 55;  // 00-<32>-<16>-<2>
  if (value.size() < kSize || value[2] != '-' || value[35] != '-' || value[52] != '-') return {};
  const std::string_view version = value.substr(0, 2), trace = value.substr(3, 32), parent = value.substr(36, 16);
  const std::string_view flags = value.substr(53, 2);
  if (!is_hex(version) || version == "ff" || !is_id(trace) || !is_id(parent) || !is_hex(flags)) return {};
  const bool longer = value.size() > kSize;  // of later versions
  if (longer && (version == "00" || value[kSize] != '-')) return {};
  const int low = flags[1] <= '9' ? flags[1] - '0' : flags[1] - 'a' + 10;
  return {std::string(trace), std::string(parent), (low & 1) != 0};
}

}  // namespace foregate
