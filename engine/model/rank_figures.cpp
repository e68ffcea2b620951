#include "engine/model/rank_figures.h"

#include <cstring>
#include <string>

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

std::size_t write_tail(const AnswerTail& tail, std::byte* to) {
  std::memcpy(to, &tail.compute_ns, sizeof tail.compute_ns);
  if (!tail.figures) return sizeof tail.compute_ns;
  std::memcpy(to + sizeof tail.compute_ns, &*tail.figures, kRankFiguresBytes);
  return kMaxAnswerTailBytes;
}

Result<AnswerTail> read_tail(std::span<const std::byte> answer, std::uint64_t outputs) {
  const std::uint64_t least = outputs + sizeof(AnswerTail::compute_ns);
  if (answer.size() != least && answer.size() != outputs + kMaxAnswerTailBytes) {
    return data_loss("an answer of " + std::to_string(answer.size()) + " bytes where " + std::to_string(least) +
                     " are due");
  }
  AnswerTail tail;
  std::memcpy(&tail.compute_ns, answer.data() + outputs, sizeof tail.compute_ns);
  if (answer.size() != least) tail.figures = read_figures(answer.last<kRankFiguresBytes>());
  return tail;
}

}  // namespace foregate
