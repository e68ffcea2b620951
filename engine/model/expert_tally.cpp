#include "engine/model/expert_tally.h"

namespace foregate {
namespace {

std::vector<std::int32_t> experts_of_layers(const ModelConfig& config) {
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : config.layers) experts.push_back(layer.sparse ? config.router.experts : 0);
  return experts;
}

}  // namespace

bool expert_found(ExpertKey key, const ExpertStore* store, const DeviceTier* tier, std::int32_t owner) {
  if (owner > 0) return store == nullptr;
  if (tier != nullptr) return tier->on_host(key.layer) ? store->resident(key) : tier->held(key);
  return store == nullptr || store->found(key);
}

ExpertTally::ExpertTally(const ModelConfig& config)
    : experts_(experts_of_layers(config)), numbers_(experts_), cells_(numbers_.size()) {}

void ExpertTally::used(const Step& step, LayerId id, const ExpertStore* store, const DeviceTier* tier,
                       std::span<const std::int32_t> owners) {
  const StepScratch& s = step.scratch;
  for (std::size_t i = 0; i < s.group_experts.size(); ++i) {
    const ExpertKey key{id, ExpertId{s.group_experts[i]}};
    const std::int32_t rows = s.group_rows[i] - (s.group_drafted_rows.empty() ? 0 : s.group_drafted_rows[i]);
    if (rows > 0) add(key, rows, expert_found(key, store, tier, owners.empty() ? 0 : owners[i]));
  }
}

void ExpertTally::add(ExpertKey key, std::int32_t rows, bool found) {
  ExpertCell& cell = cells_[numbers_.at(key)];
  cell.rows += static_cast<std::uint64_t>(rows);
  ++cell.uses;
  cell.hits += found ? 1 : 0;
}

void ExpertTally::stood(const LayerUse& use, std::span<const std::uint8_t> found) {
  for (std::size_t i = 0; i < use.experts.size(); ++i) {
    add({use.layer, ExpertId{use.experts[i]}}, use.rows[i], found[i] != 0);
  }
}

ExpertMap ExpertTally::map(const ModelWeights& weights, std::int64_t steps, bool routed, bool host) const {
  const ExpertStore* store = weights.store.get();
  ExpertMap map{.steps = steps, .watched_steps = steps_, .counted = routed, .experts = experts_, .cells = cells_};
  std::size_t number = 0;
  for (std::int32_t layer = 0; layer < static_cast<std::int32_t>(experts_.size()); ++layer) {
    for (std::int32_t expert = 0; expert < experts_[static_cast<std::size_t>(layer)]; ++expert, ++number) {
      ExpertCell& cell = map.cells[number];
      if (store == nullptr) {
        cell.place = host ? ExpertPlace::kMemory : ExpertPlace::kDevice;
        continue;
      }
      const ExpertKey key{LayerId{layer}, ExpertId{expert}};
      cell.place = weights.tier && weights.tier->held(key) ? ExpertPlace::kDevice
                   : !store->held(key)                     ? ExpertPlace::kDisk
                   : store->resident(key)                  ? ExpertPlace::kMemory
                                                           : ExpertPlace::kLoading;
      cell.ahead_useful = store->ahead_counts()[number].useful;
      cell.ahead_wasted = store->ahead_counts()[number].wasted;
    }
  }
  return map;
}

}  // namespace foregate
