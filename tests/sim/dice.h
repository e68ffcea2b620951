// Random numbers of a simulation: each part draws from a stream of its own, so that what one part draws does not move
// what another one gets.
#pragma once

#include <cstdint>

namespace foregate::sim {

class Dice {
 public:
  Dice(std::uint64_t seed, std::uint64_t stream) : state_(seed * 0x9e3779b97f4a7c15ULL ^ (stream + 1) << 48) {}
  std::uint64_t bits() {  // SplitMix64 (Steele, Lea and Flood, 2014)
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::int32_t range(std::int32_t low, std::int32_t high) {  // both included
    return low + static_cast<std::int32_t>(bits() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(double p) { return static_cast<double>(bits() >> 11) * 0x1.0p-53 < p; }

 private:
  std::uint64_t state_;
};

}  // namespace foregate::sim
