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

std::vector<std::size_t> cut_groups(std::span<const std::int32_t> group_rows, std::int32_t parts) {
  std::int64_t total = 0;
  for (const std::int32_t rows : group_rows) total += rows;
  const std::size_t most = std::min(group_rows.size(), static_cast<std::size_t>(std::max(parts, 1)));
  std::vector<std::size_t> ends;
  std::int64_t sum = 0;
  for (std::size_t g = 0; g < group_rows.size() && ends.size() + 1 < most; ++g) {
    sum += group_rows[g];
    const auto part = static_cast<std::int64_t>(ends.size()) + 1;
    const bool full = sum * static_cast<std::int64_t>(most) >= part * total;
    const bool last_chance = group_rows.size() - (g + 1) == most - ends.size() - 1;
    if ((full || last_chance) && g + 1 < group_rows.size()) ends.push_back(g + 1);
  }
  if (!group_rows.empty()) ends.push_back(group_rows.size());
  return ends;
}

}  // namespace foregate
