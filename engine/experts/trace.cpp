#include "engine/experts/trace.h"

#include <algorithm>

namespace foregate {

void find_distinct(std::span<const std::int32_t> ids, DistinctExperts& out) {
  out.experts.assign(ids.begin(), ids.end());
  out.rows.clear();
  out.decode_rows.clear();
  std::sort(out.experts.begin(), out.experts.end());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < out.experts.size(); ++i) {
    if (kept > 0 && out.experts[kept - 1] == out.experts[i]) {
      ++out.rows.back();
      continue;
    }
    out.experts[kept++] = out.experts[i];
    out.rows.push_back(1);
  }
  out.experts.resize(kept);
}

void find_distinct(const TraceStep& step, const TraceLayer& layer, DistinctExperts& out) {
  find_distinct(layer.ids, out);
  if (step.phase == UsePhase::kDecode || std::count(step.prompt.begin(), step.prompt.end(), 0) == 0) return;
  out.decode_rows.assign(out.experts.size(), 0);
  const std::size_t top_k = layer.ids.size() / step.prompt.size();
  for (std::size_t i = 0; i < layer.ids.size(); ++i) {
    if (step.prompt[i / top_k] != 0) continue;
    const auto at = std::lower_bound(out.experts.begin(), out.experts.end(), layer.ids[i]);
    ++out.decode_rows[static_cast<std::size_t>(at - out.experts.begin())];
  }
}

}  // namespace foregate
