#include "engine/experts/trace.h"

#include <algorithm>

namespace foregate {

void find_distinct(std::span<const std::int32_t> ids, DistinctExperts& out) {
  out.experts.assign(ids.begin(), ids.end());
  out.rows.clear();
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

}  // namespace foregate
