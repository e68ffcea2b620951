#include "engine/experts/trace.h"

#include <algorithm>

namespace foregate {
namespace {

// Of each expert of `out`, its rows among those of which `marks` is `value`.
void count_rows(const std::vector<std::uint8_t>& marks, std::uint8_t value, const TraceLayer& layer,
                const DistinctExperts& out, std::vector<std::int32_t>& rows) {
  rows.assign(out.experts.size(), 0);
  const std::size_t top_k = layer.ids.size() / marks.size();
  for (std::size_t i = 0; i < layer.ids.size(); ++i) {
    if (marks[i / top_k] != value) continue;
    const auto at = std::lower_bound(out.experts.begin(), out.experts.end(), layer.ids[i]);
    ++rows[static_cast<std::size_t>(at - out.experts.begin())];
  }
}

// Calls each(row, place) for the rows of drafts that stood: those of one draft follow its sequence's newest token.
template <class Each>
void each_stood(const TraceStep& step, Each&& each) {
  std::int32_t place = 0;
  for (std::size_t row = 0; row < step.drafted.size(); ++row) {
    place = step.drafted[row] != 0 ? place + 1 : 0;
    if (place > 0 && step.stood[row] != 0) each(row, place);
  }
}

}  // namespace

void find_distinct(std::span<const std::int32_t> ids, DistinctExperts& out) {
  out.experts.assign(ids.begin(), ids.end());
  out.rows.clear();
  out.decode_rows.clear();
  out.drafted_rows.clear();
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
  const bool drafts = std::count(step.drafted.begin(), step.drafted.end(), 1) > 0;
  if (drafts) count_rows(step.drafted, 1, layer, out, out.drafted_rows);
  if (step.phase == UsePhase::kDecode || std::count(step.prompt.begin(), step.prompt.end(), 0) == 0) return;
  count_rows(step.prompt, 0, layer, out, out.decode_rows);
}

void find_stood(const TraceStep& step, const TraceLayer& layer, std::int32_t place, DistinctExperts& out) {
  std::vector<std::int32_t> ids;
  const std::size_t top_k = layer.ids.size() / std::max<std::size_t>(1, step.drafted.size());
  each_stood(step, [&](std::size_t row, std::int32_t at) {
    const auto first = layer.ids.begin() + static_cast<std::ptrdiff_t>(row * top_k);
    if (at == place) ids.insert(ids.end(), first, first + static_cast<std::ptrdiff_t>(top_k));
  });
  find_distinct(ids, out);
}

std::int32_t longest_stood(const TraceStep& step) {
  std::int32_t longest = 0;
  each_stood(step, [&](std::size_t, std::int32_t place) { longest = std::max(longest, place); });
  return longest;
}

}  // namespace foregate
