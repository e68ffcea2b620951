// The other half of a budget that a simulation's KV blocks share: pages that spoil what is given back, and slots of
// experts of which some stay whatever is asked.
#pragma once

#include <cstdint>
#include <map>

#include "engine/experts/elastic_slots.h"
#include "engine/runtime/engine_parts.h"
#include "kernels/api/page_source.h"
#include "tests/sim/dice.h"
#include "tests/sim/plant.h"

namespace foregate::sim {

struct ElasticScenario {
  bool on = false;
  std::int32_t unit = 1;  // blocks
  std::int64_t most_blocks = 0;
  std::int64_t slot_bytes = 0;
  std::int64_t slots = 0;  // at the start
  std::int64_t least_slots = 0;
  std::int64_t most_slots = 0;
};

// `least_blocks`: rounded up to whole units.
ElasticScenario draw_elastic(Dice& dice, std::int32_t block_size, std::int64_t& least_blocks);
ElasticParts elastic_parts(const ElasticScenario& scenario, std::int64_t block_bytes, std::int64_t least_blocks);

class SimPages final : public PageSource {
 public:
  SimPages(std::size_t page_bytes, Plant plant) : page_bytes_(page_bytes), plant_(plant) {}
  std::size_t page_bytes() const override { return page_bytes_; }
  Memory reserve(std::size_t pieces, std::size_t piece_bytes) override;
  void give_back(std::byte* data, std::size_t bytes) override;

 private:
  std::size_t page_bytes_;
  Plant plant_;
  std::byte* end_ = nullptr;  // of the last reservation
};

class SimSlots final : public ElasticSlots {
 public:
  SimSlots(std::uint64_t seed, const ElasticScenario& scenario, Plant plant)
      : dice_(seed, 11), scenario_(scenario), slots_(scenario.slots), plant_(plant) {}
  ElasticSlotFigures elastic_figures() const override;
  std::int64_t give_up(std::int64_t bytes) override;
  std::int64_t take(std::int64_t bytes) override;
  void step();  // in which experts may be missed

 private:
  Dice dice_;
  const ElasticScenario scenario_;
  std::int64_t slots_;
  Plant plant_;
  std::uint64_t misses_ = 0;
};

}  // namespace foregate::sim
