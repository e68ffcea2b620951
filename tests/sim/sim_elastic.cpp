#include "tests/sim/sim_elastic.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace foregate::sim {

ElasticScenario draw_elastic(Dice& dice, std::int32_t block_size, std::int64_t& least_blocks) {
  ElasticScenario e;
  e.on = true;
  e.unit = dice.range(1, 3);
  least_blocks = (least_blocks + e.unit - 1) / e.unit * e.unit;
  e.most_blocks = least_blocks + std::int64_t{e.unit} * dice.range(1, 12);
  e.slot_bytes = std::int64_t{dice.range(1, 6)} * 16 * block_size;
  e.slots = dice.range(4, 20);
  e.least_slots = dice.range(1, 4);
  e.most_slots = e.slots + dice.range(0, 6);
  return e;
}

// Steps take a millisecond.
ElasticParts elastic_parts(const ElasticScenario& e, std::int64_t block_bytes, std::int64_t least_blocks) {
  ElasticParts parts;
  parts.block_bytes = block_bytes;
  parts.budget_bytes = least_blocks * block_bytes + e.slots * e.slot_bytes;
  parts.present_blocks = parts.least_blocks = static_cast<std::int32_t>(least_blocks);
  parts.rules.sustain_seconds = 0.004;
  parts.rules.interval_seconds = 0.003;
  parts.rules.bytes_per_interval = 3 * (e.unit * block_bytes + e.slot_bytes);
  parts.rules.reserve_blocks = 2;
  return parts;
}

Memory SimPages::reserve(std::size_t pieces, std::size_t piece_bytes) {
  const std::size_t bytes = pieces * piece_bytes;
  void* data = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (data == nullptr) return {};
  std::memset(data, 0, bytes);
  end_ = static_cast<std::byte*>(data) + bytes;
  return Memory(data, bytes, [](void* p, std::size_t) { std::free(p); });
}

void SimPages::give_back(std::byte* data, std::size_t bytes) {
  if (plant_ == Plant::kGivesBackNextPage && data + 2 * bytes <= end_) data += bytes;
  std::memset(data, 0x5a, bytes);
}

ElasticSlotFigures SimSlots::elastic_figures() const {
  ElasticSlotFigures figures;
  figures.bytes = slots_ * scenario_.slot_bytes;
  figures.least_bytes = scenario_.least_slots * scenario_.slot_bytes;
  figures.most_bytes = scenario_.most_slots * scenario_.slot_bytes;
  figures.slot_bytes = scenario_.slot_bytes;
  figures.slots = static_cast<std::uint64_t>(slots_);
  figures.misses = misses_;
  figures.stall_seconds = 0.001 * static_cast<double>(misses_);
  return figures;
}

std::int64_t SimSlots::give_up(std::int64_t bytes) {
  const std::int64_t wanted = (bytes + scenario_.slot_bytes - 1) / scenario_.slot_bytes;
  std::int64_t gone = std::clamp<std::int64_t>(wanted, 0, slots_ - scenario_.least_slots);
  if (dice_.chance(0.2)) gone = dice_.range(0, static_cast<std::int32_t>(gone));  // the others are being read
  slots_ -= gone;
  return (gone + (plant_ == Plant::kSlotStays ? 1 : 0)) * scenario_.slot_bytes;
}

std::int64_t SimSlots::take(std::int64_t bytes) {
  const std::int64_t more = std::min(bytes / scenario_.slot_bytes, scenario_.most_slots - slots_);
  slots_ += std::max<std::int64_t>(more, 0);
  return std::max<std::int64_t>(more, 0) * scenario_.slot_bytes;
}

void SimSlots::step() {
  misses_ += dice_.chance(0.5) ? 1 : 0;
}

}  // namespace foregate::sim
