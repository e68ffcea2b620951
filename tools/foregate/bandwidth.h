// Measures what the machine's memory can give, the yardstick of `foregate bench`: sequential
// reads of buffers far larger than the caches, one part per thread.
#pragma once

#include <cstddef>

namespace foregate {

// Median bytes per second over `rounds` passes of `threads` threads over `bytes` in all.
// 0 when the memory cannot be had.
double measure_read_bandwidth(int threads, std::size_t bytes, int rounds);

}  // namespace foregate
