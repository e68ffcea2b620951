// What the expert store of a rank did since the rank began: it rides behind the outputs of each exchange. Plain data in
// a fixed layout, little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/experts/expert_store.h"

namespace foregate {

struct RankFigures {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
  std::uint64_t loads = 0;
  std::uint64_t loaded_bytes = 0;
  std::uint64_t stall_us = 0;
  std::uint64_t slots = 0;
  std::uint64_t slots_used = 0;
  std::uint64_t slot_bytes = 0;
};

inline constexpr std::size_t kRankFiguresBytes = sizeof(RankFigures);

RankFigures figures_of(const ExpertStore& store);
RankFigures read_figures(std::span<const std::byte, kRankFiguresBytes> bytes);

}  // namespace foregate
