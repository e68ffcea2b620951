// What moving and computing experts costs on one machine: plain data, as measured (model/cost_calibration.h), and what
// follows from it by interpolation. Every policy that weighs a load against a computation asks here. Pure; a value.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

// Reads of one size with so many in flight.
struct ReadCost {
  std::uint64_t bytes = 0;  // of one read
  std::uint32_t depth = 1;  // in flight at a time
  double bytes_per_second = 0.0;
  double latency_seconds = 0.0;  // from submit to end, median
};

struct KernelPoint {
  std::int32_t rows = 1;
  double seconds = 0.0;  // one expert, its weights read from memory
};

// Of the experts of one format and size.
struct KernelCost {
  std::string format;               // of gate, up and down: "q4_0", "q4_k+q6_k"
  std::uint64_t expert_bytes = 0;   // in memory
  std::vector<KernelPoint> points;  // rows ascending
};

struct CostModel {
  std::uint64_t chunk_bytes = std::uint64_t{1} << 20;  // a load is split into reads of at most so much,
  std::uint32_t depth = 8;                             // of which so many are in flight
  std::vector<ReadCost> reads;                         // every size with every depth; ascending by size, then depth
  double reading_bytes_per_second = 0.0;               // of such reads, while the cores read memory; 0: not measured
  double memory_bytes_per_second = 0.0;                // read by all threads together
  double memory_bytes_per_second_reading = 0.0;        // the same while reads go on; 0: not measured
  std::vector<KernelCost> kernels;
  // Loads of running models: what they took as a factor of what the table above says, and the bandwidth itself, as
  // exponential averages over seconds of reading. 0: none yet.
  double observed_factor = 0.0;
  double observed_bytes_per_second = 0.0;

  bool empty() const { return reads.empty(); }
  // kInvalidArgument when a figure is not finite or not positive, the table has holes, or something is too large.
  Status check() const;

  // From the table alone: linear between measured sizes and depths in their logarithms; below the smallest size the
  // time of a read stays what it was.
  double table_bytes_per_second(double bytes, double depth) const;
  // Of loads of `experts` experts that begin together, by the table and what was observed since. 0 when empty.
  double load_bytes_per_second(double experts, std::uint64_t expert_bytes) const;
  double load_seconds(double experts, std::uint64_t expert_bytes) const;
  // `experts` experts one after another, `rows` rows each; by the kernel of the nearest size. 0 when none was measured.
  double kernel_seconds(double experts, std::uint64_t expert_bytes, double rows) const;

  // Loads moved `bytes` while reads of `read_bytes` were in flight for `seconds`, about `depth` at a time.
  void observe(std::uint64_t bytes, double seconds, double read_bytes, double depth);
  // How many reads are in flight while so many experts are loaded together.
  double depth_of(double experts, std::uint64_t expert_bytes) const;
};

// A machine that reads at one bandwidth whatever the size, and computes in no time: stall estimates without a
// measurement.
CostModel cost_of_bandwidth(double bytes_per_second);

// What one token of one sequence needs.
struct DecodeWork {
  std::uint64_t dense_bytes = 0;            // weights that every step reads
  std::vector<std::uint64_t> expert_bytes;  // of one expert, by layer with experts
  std::int32_t top_k = 1;
};

struct DecodeEstimate {
  double compute_seconds = 0.0;
  double read_seconds = 0.0;  // of missed experts
  double missed_bytes = 0.0;
  // One over the longer of the two: reads and computation overlap at best.
  double tokens_per_second() const;
};
// With `hit_rate` (0..1) of the experts found in memory.
DecodeEstimate estimate_decode(const CostModel& costs, const DecodeWork& work, double hit_rate);

}  // namespace foregate
