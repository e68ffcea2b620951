// The rows of a trace as placement wants them (engine/placement/affinity.h).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/ids.h"
#include "engine/placement/affinity.h"
#include "tools/foregate/trace_commands.h"

namespace foregate {

struct TraceRows {
  RouteRows rows;
  std::vector<LayerId> layers;        // the model's number of each layer of the rows
  std::vector<std::int32_t> experts;  // of every layer of the model; 0: a dense one
  std::uint64_t in_trace = 0;         // rows that the trace has
};

// At most `max_rows` rows, evenly spread over the trace. Steps that failed are left out.
Result<TraceRows> rows_of_trace(const std::string& path, std::uint64_t max_rows);

}  // namespace foregate
