#include "engine/model/packed_loader.h"

#include <cstdint>
#include <map>

namespace foregate {
namespace {

// Where each unit of the plan goes; null for units that the plan does not need.
class Placement {
 public:
  Placement(const PackedModel& packed, const std::vector<WeightItem>& items)
      : packed_(packed), base_(packed.index().units.size(), nullptr), needed_(base_.size(), false) {
    for (const WeightItem& item : items) needed_[static_cast<std::size_t>(item.entry->unit)] = true;
  }

  Status allocate(Device& device, std::vector<Memory>& memory) {
    std::map<std::int32_t, std::uint64_t> layers;  // bytes by layer, -1 for what is outside
    const std::vector<PackedUnit>& units = packed_.index().units;
    for (std::size_t u = 0; u < units.size(); ++u) {
      if (needed_[u]) layers[units[u].layer] += units[u].bytes;
    }
    std::map<std::int32_t, std::byte*> next;
    for (const auto& [layer, bytes] : layers) {
      memory.push_back(device.allocate(bytes + kDirectPage));  // a page more, to begin at one
      if (!memory.back()) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of weights");
      const auto begin = reinterpret_cast<std::uintptr_t>(memory.back().data());
      next[layer] = memory.back().data() + (kDirectPage - begin % kDirectPage) % kDirectPage;
    }
    for (std::size_t u = 0; u < units.size(); ++u) {
      if (!needed_[u]) continue;
      std::byte*& at = next[units[u].layer];
      base_[u] = at;
      at += units[u].bytes;
    }
    return {};
  }

  std::vector<UnitRead> reads() const {
    std::vector<UnitRead> reads;
    for (std::size_t u = 0; u < base_.size(); ++u) {
      const PackedUnit& unit = packed_.index().units[u];
      if (needed_[u]) reads.push_back({&packed_.file(unit), &unit, base_[u]});
    }
    return reads;
  }

  const std::byte* find(const TensorEntry& entry) const {
    const auto u = static_cast<std::size_t>(entry.unit);
    return base_[u] + (entry.offset - packed_.index().units[u].offset);
  }

 private:
  const PackedModel& packed_;
  std::vector<std::byte*> base_;  // by unit
  std::vector<bool> needed_;
};

void describe(const PackedModel& packed, bool verified, ModelWeights& weights) {
  for (std::uint32_t i = 0; i < packed.index().files.size(); ++i) weights.page_cache |= !packed.file(i).direct();
  weights.how_loaded = "packed " + packed.index().layout + ", quantization " + packed.index().quantization +
                       (verified ? ", checksums verified" : ", checksums not verified") +
                       (weights.page_cache ? ", read through the page cache" : ", read past the page cache");
}

}  // namespace

Status load_packed(const PackedModel& packed, const std::vector<WeightItem>& items, Device& device,
                   const UnitReadOptions& options, const ReadProgress& progress, ModelWeights& weights) {
  Placement placement(packed, items);
  RETURN_IF_ERROR(placement.allocate(device, weights.memory));
  for (const WeightItem& item : items) {
    const std::byte* at = placement.find(*item.entry);
    if (item.matrix != nullptr) *item.matrix = PackedWeight{at, item.format, item.rows, item.cols};
    if (item.vector != nullptr) *item.vector = reinterpret_cast<const float*>(at);
  }
  RETURN_IF_ERROR(read_units(placement.reads(), options, progress));
  describe(packed, options.verify, weights);
  return {};
}

}  // namespace foregate
