// What the machine can give, the yardstick of every speed figure: bytes read from memory, and multiply-adds whose
// operands never leave the registers. Measured by threads of its own, which are gone afterwards.
#pragma once

#include <cstddef>
#include <string>

namespace foregate {

struct MachineLimits {
  double read_bytes_per_second = 0.0;
  double int8_macs_per_second = 0.0;  // multiply-adds of bytes into 32-bit sums
  double f32_macs_per_second = 0.0;
};

struct LimitOptions {
  std::string isa = "generic";                    // as kernels/registry names it; decides the instructions
  int threads = 1;                                // that share the work
  std::size_t read_bytes = std::size_t{1} << 30;  // far beyond the caches; in huge pages
  int rounds = 9;                                 // the median counts
  double round_seconds = 0.01;                    // of one round of multiply-adds
};

// A figure is 0 when it cannot be taken, for want of memory.
MachineLimits measure_limits(const LimitOptions& options);

}  // namespace foregate
