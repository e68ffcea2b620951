#include "engine/model/context_mirror.h"

#include <algorithm>

namespace foregate {

ContextMirror::ContextMirror(std::int32_t ranks, std::size_t layers, std::int64_t blocks, std::int32_t block_size)
    : ranks_(ranks),
      layers_(layers),
      blocks_(static_cast<std::size_t>(blocks)),
      block_size_(block_size),
      have_(static_cast<std::size_t>(ranks - 1) * layers_ * blocks_, 0) {}

std::uint16_t& ContextMirror::have(RankId rank, LayerId layer, std::int32_t block) {
  const auto r = static_cast<std::size_t>(rank.value - 1), l = static_cast<std::size_t>(layer.value);
  return have_[(r * layers_ + l) * blocks_ + static_cast<std::size_t>(block)];
}

void ContextMirror::forget(RankId rank) {
  const auto each = static_cast<std::ptrdiff_t>(layers_ * blocks_);
  std::fill_n(have_.begin() + (rank.value - 1) * each, each, std::uint16_t{0});
}

void ContextMirror::changed(std::int32_t block, std::int32_t position) {
  for (std::size_t i = static_cast<std::size_t>(block); i < have_.size(); i += blocks_) {
    have_[i] = std::min(have_[i], static_cast<std::uint16_t>(position));
  }
}

void ContextMirror::bring(RankId rank, LayerId layer, std::span<const std::int32_t> blocks, std::int32_t from,
                          std::int32_t position, std::vector<ContextSpan>& lacks) {
  for (std::int32_t b = from / block_size_; b * block_size_ < position; ++b) {
    const std::int32_t block = blocks[static_cast<std::size_t>(b)];
    std::uint16_t& has = have(rank, layer, block);
    const std::int32_t needed = std::min(block_size_, position - b * block_size_);
    if (has >= needed) continue;
    lacks.push_back({block, has, needed - has});
    has = static_cast<std::uint16_t>(needed);
  }
}

void ContextMirror::computed(RankId rank, LayerId layer, std::int32_t block, std::int32_t position) {
  have(rank, layer, block) = static_cast<std::uint16_t>(position + 1);
}

}  // namespace foregate
