// Counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11). A draw depends on
// (seed, stream, counter) alone, so a request's draws are the same whatever else runs.
#pragma once

#include <array>
#include <cstdint>

namespace foregate {

// Four 32-bit words for (key, counter).
std::array<std::uint32_t, 4> philox4x32(std::uint64_t key, std::uint64_t counter_low, std::uint64_t counter_high);

// Uniform double in [0, 1) with 53 bits for (seed, stream, counter).
double uniform01(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);

}  // namespace foregate
