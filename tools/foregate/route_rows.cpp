#include "tools/foregate/route_rows.h"

namespace foregate {
namespace {

bool whole(const TraceStep& step, const TraceRows& out) {
  if (step.layers.size() != out.layers.size()) return false;
  for (std::size_t l = 0; l < out.layers.size(); ++l) {
    if (step.layers[l].layer != out.layers[l]) return false;
  }
  return true;
}

std::uint64_t rows_that_count(const TraceStep& step) {
  std::uint64_t rows = 0;
  for (std::size_t i = 0; i < step.requests.size(); ++i) rows += step.counts(i) ? 1 : 0;
  return rows;
}

}  // namespace

Result<TraceRows> rows_of_trace(const std::string& path, std::uint64_t max_rows) {
  ASSIGN_OR_RETURN(const OpenTrace trace, open_trace(path));
  TraceRows out;
  out.experts = trace.info.experts;
  out.rows.top_k = trace.info.top_k;
  for (std::size_t l = 0; l < out.experts.size(); ++l) {
    if (out.experts[l] == 0) continue;
    out.layers.push_back(LayerId{static_cast<std::int32_t>(l)});
    out.rows.experts.push_back(out.experts[l]);
  }
  out.rows.ids.resize(out.layers.size());
  RETURN_IF_ERROR(each_step(trace, [&out](const TraceStep& step) {
    if (whole(step, out)) out.in_trace += rows_that_count(step);
  }));
  if (out.layers.empty() || out.in_trace == 0) return invalid_argument(path + " has no routed rows", "trace");
  const auto top_k = static_cast<std::size_t>(trace.info.top_k);
  const std::uint64_t kept = std::min(max_rows, out.in_trace);
  std::uint64_t row = 0;
  RETURN_IF_ERROR(each_step(trace, [&](const TraceStep& step) {
    if (!whole(step, out)) return;
    for (std::size_t i = 0; i < step.requests.size(); ++i) {
      if (!step.counts(i)) continue;
      const std::uint64_t at = row++;
      if (at * kept / out.in_trace == row * kept / out.in_trace) continue;
      for (std::size_t l = 0; l < out.layers.size(); ++l) {
        const auto ids = std::span(step.layers[l].ids).subspan(i * top_k, top_k);
        out.rows.ids[l].insert(out.rows.ids[l].end(), ids.begin(), ids.end());
      }
    }
  }));
  return out;
}

}  // namespace foregate
