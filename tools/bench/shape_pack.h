// `foregate pack --shape`: the random weights of a shape written as a packed directory, the same bytes that
// boot_shape() makes in memory. Holds one unit of it at a time.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/status.h"
#include "engine/model/pack_model.h"
#include "tools/bench/planted_routing.h"

namespace foregate {

struct ShapePackOptions {
  std::string shape;                  // of all_shapes()
  std::string quantization = "none";  // as shape_format() takes it
  std::int32_t layers = 0;            // 0: the shape's own
  RoutingPlan routing = {};           // its seed is that of all weights
  std::uint64_t max_file_bytes = kMaxDataFileBytes;
};

// Errors as open_shape(), check_routing() and shape_metadata() have them.
Result<PackPlan> plan_shape_pack(const ShapePackOptions& options);

// As run_pack(): goes on with an unfinished pack of the same shape and options; `threads` share the work.
Result<PackReport> run_shape_pack(const PackPlan& plan, const RoutingPlan& routing, int threads,
                                  const FileSystem& files, OutputDirectory& out, const PackProgress& progress);

}  // namespace foregate
