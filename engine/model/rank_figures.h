// What the expert store of a rank did since the rank began: it rides behind the outputs of each exchange, as what they
// took does. Plain data in a fixed layout, little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/base/status.h"
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

// What stands behind the outputs of every answer: nanoseconds that their experts took and, where a store is, its
// figures.
struct AnswerTail {
  std::uint64_t compute_ns = 0;
  std::optional<RankFigures> figures;
};
inline constexpr std::size_t kMaxAnswerTailBytes = sizeof(std::uint64_t) + kRankFiguresBytes;

// How many bytes it wrote.
std::size_t write_tail(const AnswerTail& tail, std::byte* to);
// Of an answer whose outputs take `outputs` bytes; kDataLoss when it is of another size.
Result<AnswerTail> read_tail(std::span<const std::byte> answer, std::uint64_t outputs);

}  // namespace foregate
