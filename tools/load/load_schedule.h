// When requests are sent: pure functions of a seed.
#pragma once

#include <cstdint>
#include <vector>

namespace foregate {

// Seconds from the start of each of `count` requests at `rate` requests a second. Gaps are gamma distributed with shape
// `burstiness`: 1 is a Poisson process, less comes in bursts, more is more even. A rate of 0: all at once.
std::vector<double> arrival_times(std::size_t count, double rate, double burstiness, std::uint64_t seed);

}  // namespace foregate
