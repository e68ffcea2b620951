// Runs one launch of the emulator, block after block: the scheduler of fibers behind cuda_host_grid.h, and the faults
// that tests plant in it. Used by the emulator alone.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <set>
#include <string>

#include "tests/cuda_host/emulator.h"

namespace foregate::emu {

struct Faults {
  std::set<Site> skipped;
  int turn = 0;
  bool no_copy_waits = false;
  bool no_stream_waits = false;
  bool lost_threads = false;  // the first one of every block does nothing
  bool short_grids = false;   // the last block of every grid does not run
};

// SplitMix64.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::uint32_t below(std::uint32_t bound) { return static_cast<std::uint32_t>((next() >> 32) * bound >> 32); }

 private:
  std::uint64_t state_;
};

// Empty when every thread came to its end, else what they were waiting for.
std::string run_grid(const Launch& launch, std::uint64_t seed, const Faults& faults, std::set<Site>& seen);

}  // namespace foregate::emu
