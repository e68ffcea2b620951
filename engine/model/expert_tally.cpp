#include "engine/model/expert_tally.h"

namespace foregate {
namespace {

std::vector<std::int32_t> experts_of_layers(const ModelConfig& config) {
  std::vector<std::int32_t> experts;
  for (const LayerConfig& layer : config.layers) experts.push_back(layer.sparse ? config.router.experts : 0);
  return experts;
}

}  // namespace

ExpertTally::ExpertTally(const ModelConfig& config)
    : experts_(experts_of_layers(config)), numbers_(experts_), cells_(numbers_.size()) {}

void ExpertTally::used(const Step& step, LayerId id, const ExpertStore* store, const DeviceTier* tier) {
  const auto found = [&](ExpertKey key) {
    if (tier != nullptr) return tier->on_host(id) ? store->resident(key) : tier->held(key);
    return store == nullptr || store->found(key);
  };
  const StepScratch& s = step.scratch;
  for (std::size_t i = 0; i < s.group_experts.size(); ++i) {
    const ExpertKey key{id, ExpertId{s.group_experts[i]}};
    ExpertCell& cell = cells_[numbers_.at(key)];
    cell.rows += static_cast<std::uint64_t>(s.group_rows[i]);
    ++cell.uses;
    cell.hits += found(key) ? 1 : 0;
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
