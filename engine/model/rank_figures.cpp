#include "engine/model/rank_figures.h"

#include <cstring>

namespace foregate {

static_assert(sizeof(RankFigures) == 9 * sizeof(std::uint64_t), "no padding travels");

RankFigures figures_of(const ExpertStore& store) {
  const StoreStats stats = store.stats();
  return {.hits = stats.hits,
          .misses = stats.misses,
          .evictions = stats.evictions,
          .loads = stats.transfer.loads,
          .loaded_bytes = stats.transfer.bytes,
          .stall_us = static_cast<std::uint64_t>(stats.stall_seconds * 1e6),
          .slots = stats.slots,
          .slots_used = stats.slots_used,
          .slot_bytes = stats.slot_bytes};
}

RankFigures read_figures(std::span<const std::byte, kRankFiguresBytes> bytes) {
  RankFigures figures;
  std::memcpy(&figures, bytes.data(), sizeof figures);
  return figures;
}

}  // namespace foregate
