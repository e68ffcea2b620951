#include "engine/kv/block_pool.h"

#include <string>

#include "engine/kv/block_table.h"

namespace foregate {

BlockPool::BlockPool(std::int32_t num_blocks, std::int32_t block_size) : block_size_(block_size) {
  CHECK(num_blocks >= 0 && block_size >= 1);
  refs_.assign(static_cast<std::size_t>(num_blocks), 0);
  free_.reserve(refs_.size());
  for (std::int32_t i = num_blocks - 1; i >= 0; --i) free_.push_back(BlockId{i});
}

std::optional<BlockId> BlockPool::acquire() {
  if (free_.empty()) return std::nullopt;
  const BlockId block = free_.back();
  free_.pop_back();
  refs_[static_cast<std::size_t>(block.value)] = 1;
  return block;
}

void BlockPool::retain(BlockId block) {
  CHECK(inside(block));
  std::int32_t& refs = refs_[static_cast<std::size_t>(block.value)];
  if (BUG_IF(refs <= 0)) return;
  ++refs;
}

void BlockPool::release(BlockId block) {
  CHECK(inside(block));
  std::int32_t& refs = refs_[static_cast<std::size_t>(block.value)];
  if (BUG_IF(refs <= 0)) return;
  if (--refs == 0) free_.push_back(block);
}

std::int32_t BlockPool::refs(BlockId block) const {
  CHECK(inside(block));
  return refs_[static_cast<std::size_t>(block.value)];
}

Status BlockPool::audit(std::span<const BlockTable* const> tables) const {
  std::vector<std::int32_t> counted(refs_.size(), 0);
  for (const BlockTable* table : tables) {
    for (BlockId block : table->blocks()) {
      if (!inside(block)) return internal_error("a table refers to block " + std::to_string(block.value));
      ++counted[static_cast<std::size_t>(block.value)];
    }
  }
  std::int32_t held = 0;
  for (std::size_t i = 0; i < refs_.size(); ++i) {
    held += refs_[i] > 0 ? 1 : 0;
    if (counted[i] == refs_[i]) continue;
    return internal_error("block " + std::to_string(i) + " has " + std::to_string(refs_[i]) + " references, " +
                          std::to_string(counted[i]) + " counted");
  }
  std::vector<bool> seen(refs_.size(), false);
  for (BlockId block : free_) {
    const auto i = static_cast<std::size_t>(block.value);
    if (!inside(block) || seen[i] || refs_[i] != 0) {
      return internal_error("block " + std::to_string(block.value) + " is in the free list wrongly");
    }
    seen[i] = true;
  }
  if (held + free_blocks() == total_blocks()) return {};
  return internal_error(std::to_string(held) + " held + " + std::to_string(free_blocks()) + " free blocks of " +
                        std::to_string(total_blocks()));
}

}  // namespace foregate
