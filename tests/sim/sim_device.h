// Memory and drafts of a simulation: allocations of host memory that fail now and then, and a drafter that knows the
// answers and errs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/spec/drafter.h"
#include "kernels/api/device.h"
#include "tests/sim/dice.h"
#include "tests/sim/ledger.h"

namespace foregate::sim {

class SimDevice final : public Device {
 public:
  SimDevice(std::uint64_t seed, double fails, bool overlaps) : dice_(seed, 5), fails_(fails), overlaps_(overlaps) {}
  void begin() { begun_ = true; }  // until then nothing fails
  void stop_faults() { fails_ = 0.0; }
  std::string describe() const override { return "simulated memory"; }
  Memory allocate(std::size_t bytes) override;
  Memory allocate_pinned(std::size_t bytes) override;
  std::unique_ptr<Stream> create_stream() override { return nullptr; }

 private:
  Dice dice_;
  double fails_;
  bool overlaps_;
  bool begun_ = false;
  alignas(64) std::byte shared_[1 << 15] = {};  // of the planted bug
};

class SimDrafter final : public Drafter {
 public:
  SimDrafter(std::uint64_t seed, const Ledger& ledger, double errs) : dice_(seed, 6), ledger_(ledger), errs_(errs) {}
  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override;

 private:
  Dice dice_;
  const Ledger& ledger_;
  double errs_;
};

}  // namespace foregate::sim
