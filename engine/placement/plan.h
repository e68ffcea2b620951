// Which ranks hold which expert: a value that does not change once made. Each expert has one home and maybe further
// ranks with a copy. Made by the solver (solver.h), by rule (linear, round-robin) or read from a file (plan_file.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace foregate {

inline constexpr std::int32_t kMaxRanks = 1024;

// The home rank of each expert of one layer.
using LayerHomes = std::vector<std::int32_t>;

struct ExpertCopy {
  LayerId layer;
  ExpertId expert;
  RankId rank;
  auto operator<=>(const ExpertCopy&) const = default;
};

class PlacementPlan {
 public:
  // homes[layer][expert]; an empty layer is a dense one. Copies beyond the homes, each once, none at its home.
  static Result<PlacementPlan> create(std::int32_t ranks, std::vector<LayerHomes> homes,
                                      std::vector<ExpertCopy> copies = {});
  // Expert e of n at rank e * ranks / n: neighbours together.
  static Result<PlacementPlan> linear(std::int32_t ranks, std::span<const std::int32_t> experts_per_layer);
  // Expert e at rank e % ranks.
  static Result<PlacementPlan> round_robin(std::int32_t ranks, std::span<const std::int32_t> experts_per_layer);

  std::int32_t ranks() const { return ranks_; }
  std::size_t layers() const { return homes_.size(); }
  std::int32_t experts(LayerId layer) const { return static_cast<std::int32_t>(homes_of(layer).size()); }
  RankId home(LayerId layer, ExpertId expert) const;
  const LayerHomes& homes_of(LayerId layer) const;
  const std::vector<LayerHomes>& homes() const { return homes_; }
  const std::vector<ExpertCopy>& copies() const { return copies_; }  // ascending
  bool holds(RankId rank, LayerId layer, ExpertId expert) const;
  // Experts of a layer that a rank holds, homes and copies, ascending.
  std::vector<std::int32_t> held(RankId rank, LayerId layer) const;

  bool operator==(const PlacementPlan&) const = default;

 private:
  PlacementPlan(std::int32_t ranks, std::vector<LayerHomes> homes, std::vector<ExpertCopy> copies)
      : ranks_(ranks), homes_(std::move(homes)), copies_(std::move(copies)) {}

  std::int32_t ranks_;
  std::vector<LayerHomes> homes_;
  std::vector<ExpertCopy> copies_;
};

}  // namespace foregate
