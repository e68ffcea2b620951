// What the disk gives for experts: random reads of whole experts from the model's own files, past the page cache,
// several at a time. The yardstick of a model whose experts are not all in memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/base/status.h"
#include "engine/experts/expert_table.h"

namespace foregate {

struct DiskLimitOptions {
  std::size_t depth = 8;   // reads in flight
  double seconds = 0.5;    // reads are begun for so long, one round of `depth` at least
  std::uint64_t seed = 0;  // which experts
};

struct DiskLimit {
  double bytes_per_second = 0.0;
  std::int64_t reads = 0;
  bool direct = false;  // past the page cache, all of them
};

// Takes `depth` times the largest expert of memory while it runs. kResourceExhausted when there is none; else as reads
// fail.
Result<DiskLimit> measure_disk(const ExpertTable& table, const DiskLimitOptions& options);

}  // namespace foregate
