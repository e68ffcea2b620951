// Experts on disk for the model of a simulation: the real ExpertStore over a disk that fails or damages what is read,
// as it is told to, and that is read at once by whoever asks. Every lease is held to the bytes that its expert has.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "engine/experts/expert_store.h"
#include "tests/engine/experts/made_experts.h"
#include "tests/sim/dice.h"
#include "tests/sim/ledger.h"

namespace foregate::sim {

inline constexpr std::int32_t kExpertLayers = 2;
inline constexpr std::int32_t kExpertsOfLayer = 4;
inline constexpr std::int32_t kExperts = kExpertLayers * kExpertsOfLayer;  // numbers: layer by layer

struct ExpertScenario {
  bool on = false;
  std::int32_t slots = 0;  // for all layers together
  double fails = 0.0;      // a step whose reads all fail, or are all damaged
};

class SimExperts {
 public:
  SimExperts(std::uint64_t seed, const ExpertScenario& scenario, Ledger& ledger);
  // The layers of one step, which use the experts with these numbers. What could not be read, as the store says it.
  Status run(const std::set<std::int32_t>& used);
  void stop_faults() { fails_ = 0.0; }
  bool resident(std::int32_t number) const { return store_->resident(key_of(number)); }
  StoreStats stats() const { return store_->stats(); }

 private:
  static ExpertKey key_of(std::int32_t number) {
    return {LayerId{number / kExpertsOfLayer}, ExpertId{number % kExpertsOfLayer}};
  }
  Status run_layer(std::int32_t layer, const std::vector<std::int32_t>& experts, bool disk_fails);

  Dice dice_;
  double fails_;
  Ledger& ledger_;
  made::Disk disk_;
  made::HeapDevice device_;
  std::unique_ptr<ExpertStore> store_;
  std::int64_t steps_ = 0;
  bool late_ = false;  // some layer has failed
};

}  // namespace foregate::sim
