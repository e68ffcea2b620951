// What the disk gives for experts: random reads from the model's own files, past the page cache where it can be passed,
// so many in flight at a time. Of the calling thread, which waits for them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/base/status.h"
#include "engine/experts/expert_table.h"

namespace foregate {

struct ReadProbe {
  std::uint64_t read_bytes = 0;  // of one read, whole pages; 0: a whole expert. Never beyond the expert it begins in
  std::size_t depth = 8;         // reads in flight
  double seconds = 1.5;          // reads are begun for so long, one round of `depth` at least
  std::uint64_t seed = 0;        // which experts
  const std::atomic<bool>* stop = nullptr;  // ends it early; may be null
};

struct ReadRate {
  double bytes_per_second = 0.0;
  double latency_seconds = 0.0;  // median, from submit to end
  std::int64_t reads = 0;
  std::uint64_t bytes = 0;
  bool direct = false;  // past the page cache, all of them
};

// Bytes of memory that a probe needs, from a multiple of kDirectPage on.
std::uint64_t probe_bytes(const ExpertTable& table, const ReadProbe& probe);
// Fails as reads fail. The experts must lie in files.
Result<ReadRate> measure_reads(const ExpertTable& table, const ReadProbe& probe, std::span<std::byte> memory);

}  // namespace foregate
