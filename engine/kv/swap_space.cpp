#include "engine/kv/swap_space.h"

#include <utility>

namespace foregate {

bool SwapSpace::fits(const KvCache& cache, std::size_t blocks) const {
  const std::int64_t block_bytes = cache.layout().block_bytes();
  return static_cast<std::int64_t>(blocks) <= (capacity_bytes_ - used_bytes_) / block_bytes;
}

bool SwapSpace::save(SeqId seq, const KvCache& cache, std::span<const BlockId> blocks) {
  if (blocks.empty() || !fits(cache, blocks.size()) || BUG_IF(copies_.contains(seq))) return false;
  const auto block_bytes = static_cast<std::size_t>(cache.layout().block_bytes());
  Memory copy = device_.allocate_pinned(block_bytes * blocks.size());
  if (!copy) return false;
  for (std::size_t i = 0; i < blocks.size(); ++i) cache.save_block(blocks[i], copy.data() + i * block_bytes);
  used_bytes_ += static_cast<std::int64_t>(copy.bytes());
  copies_.emplace(seq, std::move(copy));
  return true;
}

void SwapSpace::load(SeqId seq, KvCache& cache, std::size_t first, std::span<const BlockId> blocks) const {
  const auto found = copies_.find(seq);
  CHECK(found != copies_.end());
  const auto block_bytes = static_cast<std::size_t>(cache.layout().block_bytes());
  CHECK((first + blocks.size()) * block_bytes <= found->second.bytes());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    cache.load_block(blocks[i], found->second.data() + (first + i) * block_bytes);
  }
}

void SwapSpace::drop(SeqId seq) {
  const auto found = copies_.find(seq);
  if (found == copies_.end()) return;
  used_bytes_ -= static_cast<std::int64_t>(found->second.bytes());
  copies_.erase(found);
}

}  // namespace foregate
