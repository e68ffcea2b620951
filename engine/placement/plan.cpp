#include "engine/placement/plan.h"

#include <algorithm>

#include "kernels/api/check.h"

namespace foregate {
namespace {

std::string place(std::size_t layer, std::size_t expert) {
  return "expert " + std::to_string(expert) + " of layer " + std::to_string(layer);
}

Status check_copy(const ExpertCopy& copy, std::int32_t ranks, const std::vector<LayerHomes>& homes) {
  const auto layer = static_cast<std::size_t>(copy.layer.value);
  const auto expert = static_cast<std::size_t>(copy.expert.value);
  if (copy.layer.value < 0 || layer >= homes.size() || copy.expert.value < 0 || expert >= homes[layer].size()) {
    return invalid_argument("a copy is of " + place(layer, expert) + ", which does not exist", "copies");
  }
  if (copy.rank.value < 0 || copy.rank.value >= ranks || copy.rank.value == homes[layer][expert]) {
    return invalid_argument(place(layer, expert) + " cannot have a copy at rank " + std::to_string(copy.rank.value),
                            "copies");
  }
  return {};
}

template <class Rule>
Result<PlacementPlan> by_rule(std::int32_t ranks, std::span<const std::int32_t> experts_per_layer, Rule rule) {
  if (ranks < 1 || ranks > kMaxRanks) return invalid_argument("a plan has 1 to 1024 ranks", "ranks");
  std::vector<LayerHomes> homes(experts_per_layer.size());
  for (std::size_t l = 0; l < homes.size(); ++l) {
    homes[l].resize(static_cast<std::size_t>(std::max(experts_per_layer[l], 0)));
    for (std::size_t e = 0; e < homes[l].size(); ++e) homes[l][e] = rule(e, homes[l].size());
  }
  return PlacementPlan::create(ranks, std::move(homes));
}

}  // namespace

Result<PlacementPlan> PlacementPlan::create(std::int32_t ranks, std::vector<LayerHomes> homes,
                                            std::vector<ExpertCopy> copies) {
  if (ranks < 1 || ranks > kMaxRanks) return invalid_argument("a plan has 1 to 1024 ranks", "ranks");
  for (std::size_t l = 0; l < homes.size(); ++l) {
    for (std::size_t e = 0; e < homes[l].size(); ++e) {
      if (homes[l][e] < 0 || homes[l][e] >= ranks) {
        return invalid_argument(
            place(l, e) + " is at rank " + std::to_string(homes[l][e]) + " of " + std::to_string(ranks), "layers");
      }
    }
  }
  for (const ExpertCopy& copy : copies) RETURN_IF_ERROR(check_copy(copy, ranks, homes));
  std::sort(copies.begin(), copies.end());
  if (std::adjacent_find(copies.begin(), copies.end()) != copies.end()) {
    return invalid_argument("a rank holds an expert twice", "copies");
  }
  return PlacementPlan(ranks, std::move(homes), std::move(copies));
}

Result<PlacementPlan> PlacementPlan::linear(std::int32_t ranks, std::span<const std::int32_t> experts_per_layer) {
  return by_rule(ranks, experts_per_layer, [ranks](std::size_t e, std::size_t n) {
    return static_cast<std::int32_t>(e * static_cast<std::size_t>(ranks) / n);
  });
}

Result<PlacementPlan> PlacementPlan::round_robin(std::int32_t ranks, std::span<const std::int32_t> experts_per_layer) {
  return by_rule(ranks, experts_per_layer, [ranks](std::size_t e, std::size_t) {
    return static_cast<std::int32_t>(e % static_cast<std::size_t>(ranks));
  });
}

RankId PlacementPlan::home(LayerId layer, ExpertId expert) const {
  const LayerHomes& homes = homes_of(layer);
  CHECK(expert.value >= 0 && static_cast<std::size_t>(expert.value) < homes.size());
  return RankId{homes[static_cast<std::size_t>(expert.value)]};
}

const LayerHomes& PlacementPlan::homes_of(LayerId layer) const {
  CHECK(layer.value >= 0 && static_cast<std::size_t>(layer.value) < homes_.size());
  return homes_[static_cast<std::size_t>(layer.value)];
}

bool PlacementPlan::holds(RankId rank, LayerId layer, ExpertId expert) const {
  return home(layer, expert) == rank ||
         std::binary_search(copies_.begin(), copies_.end(), ExpertCopy{layer, expert, rank});
}

std::vector<std::int32_t> PlacementPlan::held(RankId rank, LayerId layer) const {
  std::vector<std::int32_t> experts;
  for (std::int32_t e = 0; e < this->experts(layer); ++e) {
    if (holds(rank, layer, ExpertId{e})) experts.push_back(e);
  }
  return experts;
}

}  // namespace foregate
