#include "engine/kv/swap_space.h"

#include <utility>

namespace foregate {
namespace {

std::size_t block_bytes(const KvCache& cache, KvGroup group) {
  return static_cast<std::size_t>(cache.layout().block_bytes(group));
}

}  // namespace

std::int64_t SwapSpace::bytes_of(const KvCache& cache, std::size_t blocks, std::size_t window_blocks) {
  return static_cast<std::int64_t>(blocks * block_bytes(cache, KvGroup::kMain) +
                                   window_blocks * block_bytes(cache, KvGroup::kWindow));
}

bool SwapSpace::fits(const KvCache& cache, std::size_t blocks, std::size_t window_blocks) const {
  return bytes_of(cache, blocks, window_blocks) <= capacity_bytes_ - used_bytes_;
}

bool SwapSpace::save(SeqId seq, const KvCache& cache, std::span<const BlockId> blocks,
                     std::span<const BlockId> window_blocks) {
  if (blocks.empty() || !fits(cache, blocks.size(), window_blocks.size()) || BUG_IF(copies_.contains(seq)))
    return false;
  Memory copy = device_.allocate_pinned(static_cast<std::size_t>(bytes_of(cache, blocks.size(), window_blocks.size())));
  if (!copy) return false;
  std::byte* to = copy.data();
  for (const auto& [group, ids] : {std::pair(KvGroup::kMain, blocks), std::pair(KvGroup::kWindow, window_blocks)}) {
    for (const BlockId block : ids) {
      cache.save_block(block, to, group);
      to += block_bytes(cache, group);
    }
  }
  used_bytes_ += static_cast<std::int64_t>(copy.bytes());
  copies_.emplace(seq, Copy{std::move(copy), blocks.size()});
  return true;
}

void SwapSpace::load(SeqId seq, KvCache& cache, std::size_t first, std::span<const BlockId> blocks,
                     std::span<const BlockId> window_blocks) const {
  const auto found = copies_.find(seq);
  CHECK(found != copies_.end());
  const Copy& copy = found->second;
  CHECK(first + blocks.size() <= copy.blocks);
  const std::size_t main_bytes = block_bytes(cache, KvGroup::kMain);
  const std::byte* from = copy.memory.data() + first * main_bytes;
  for (const BlockId block : blocks) {
    cache.load_block(block, from);
    from += main_bytes;
  }
  if (window_blocks.empty()) return;
  const std::size_t window_bytes = block_bytes(cache, KvGroup::kWindow);
  CHECK(copy.blocks * main_bytes + window_blocks.size() * window_bytes <= copy.memory.bytes());
  from = copy.memory.data() + copy.blocks * main_bytes;
  for (const BlockId block : window_blocks) {
    cache.load_block(block, from, KvGroup::kWindow);
    from += window_bytes;
  }
}

void SwapSpace::drop(SeqId seq) {
  const auto found = copies_.find(seq);
  if (found == copies_.end()) return;
  used_bytes_ -= static_cast<std::int64_t>(found->second.memory.bytes());
  copies_.erase(found);
}

}  // namespace foregate
