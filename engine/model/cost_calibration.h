// Measures the costs of experts on this machine (experts/cost_model.h): reads from the packed files themselves, memory
// through a matrix product alone and beside such reads, an expert's kernel by rows. About a second at the first start
// of a model with experts on disk; less where there is little to read. Called while loading, before the slots are
// filled; its memory is given back.
#pragma once

#include <cstdint>

#include "engine/base/status.h"
#include "engine/experts/cost_model.h"
#include "engine/experts/expert_table.h"
#include "kernels/api/device.h"
#include "kernels/api/op_table.h"

namespace foregate {

struct CalibrationOptions {
  double read_seconds = 1.0;  // for all sizes and depths together, and no more than reading
                              // all experts at 100 MB/s would take
  std::uint64_t scratch_bytes = std::uint64_t{128}
                                << 20;                 // of weights to compute with, far beyond the caches if it can
  std::uint64_t chunk_bytes = std::uint64_t{1} << 20;  // as the store reads
  std::uint32_t depth = 8;
  Activation activation = Activation::kSilu;
};

// The experts must lie in files. kResourceExhausted for want of memory; else as reads fail.
Result<CostModel> calibrate_costs(const ExpertTable& table, Device& device, const OpTable& ops, Stream& stream,
                                  const CalibrationOptions& options);

}  // namespace foregate
