// What the machine can give, the yardstick of every speed figure: bytes read from memory, and multiply-adds whose
// operands never leave the registers. Measured by threads of its own, which are gone afterwards.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace foregate {

struct MachineLimits {
  double read_bytes_per_second = 0.0;
  double int8_macs_per_second = 0.0;  // multiply-adds of bytes into 32-bit sums
  double f32_macs_per_second = 0.0;
  double disk_bytes_per_second = 0.0;  // of whole experts (disk_limit.h); 0: none is read so
};

struct LimitOptions {
  std::string isa = "generic";                    // as kernels/registry names it; decides the instructions
  int threads = 1;                                // that share the work
  std::size_t read_bytes = std::size_t{1} << 30;  // far beyond the caches; in huge pages
  // Memory to read instead of a buffer of its own, each span 64-byte aligned: the weights themselves. Taken when it is
  // at least read_bytes in all, of which one round then reads read_bytes.
  std::vector<std::span<const std::byte>> read_from;
  int rounds = 9;               // the median counts
  double round_seconds = 0.01;  // of one round of multiply-adds
};

// Whether there is enough in read_from: else measuring takes read_bytes of memory for the time it runs.
bool reads_given_memory(const LimitOptions& options);

// Bytes to read where memory is short and only a part of the weights is in it: all that is given, or a buffer of a
// quarter of what is still available.
std::size_t spare_read_bytes(const LimitOptions& options);

// A figure is 0 when it cannot be taken, for want of memory.
MachineLimits measure_limits(const LimitOptions& options);

}  // namespace foregate
