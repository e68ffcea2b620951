#include "engine/model/exchange_parts.h"

#include <algorithm>
#include <string>

namespace foregate {

Result<OverlapMode> overlap_mode_named(std::string_view name) {
  if (name == "off") return OverlapMode::kOff;
  if (name == "auto") return OverlapMode::kAuto;
  if (name == "chunks") return OverlapMode::kChunks;
  if (name == "halves") return OverlapMode::kHalves;
  return invalid_argument("exchange_overlap is " + std::string(name) + "; it is one of off, auto, chunks, halves",
                          "exchange_overlap");
}

std::int64_t least_part_rows(std::int64_t width, std::int64_t least_bytes) {
  const auto row = std::max<std::int64_t>(width, 1) * static_cast<std::int64_t>(sizeof(float));
  return std::max<std::int64_t>((least_bytes + row - 1) / row, 1);
}

std::vector<std::size_t> cut_groups(std::span<const std::int32_t> group_rows, std::int64_t least_rows,
                                    std::int32_t parts) {
  std::int64_t left = 0;  // behind the group
  for (const std::int32_t rows : group_rows) left += rows;
  const std::int64_t most = std::max(parts, 1);
  const std::int64_t even = std::max(least_rows, (left + most - 1) / most);
  std::vector<std::size_t> ends;
  std::int64_t part = 0;
  for (std::size_t g = 0; g + 1 < group_rows.size(); ++g) {
    part += group_rows[g];
    left -= group_rows[g];
    const bool nearer = part >= least_rows && part + group_rows[g + 1] - even > even - part;  // than with one more
    if ((part < even && !nearer) || left < least_rows) continue;
    if (static_cast<std::int64_t>(ends.size()) + 1 >= most) break;
    ends.push_back(g + 1);
    part = 0;
  }
  if (!group_rows.empty()) ends.push_back(group_rows.size());
  return ends;
}

}  // namespace foregate
