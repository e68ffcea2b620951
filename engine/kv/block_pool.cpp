#include "engine/kv/block_pool.h"

#include <string>

#include "engine/kv/block_table.h"

namespace foregate {
namespace {

std::size_t at(BlockId block) {
  return static_cast<std::size_t>(block.value);
}

}  // namespace

BlockPool::BlockPool(std::int32_t num_blocks, std::int32_t block_size) : block_size_(block_size), kept_(num_blocks) {
  CHECK(num_blocks >= 0 && block_size >= 1);
  refs_.assign(static_cast<std::size_t>(num_blocks), 0);
  published_.assign(refs_.size(), false);
  empty_.reserve(refs_.size());
  for (std::int32_t i = num_blocks - 1; i >= 0; --i) empty_.push_back(BlockId{i});
}

std::optional<BlockId> BlockPool::acquire() {
  if (empty_.empty()) {
    if (kept_.size() == 0) return std::nullopt;
    const BlockId victim = kept_.victim();
    if (on_evict_) on_evict_(victim);
    if (published(victim)) unpublish(victim);
  }
  const BlockId block = empty_.back();
  empty_.pop_back();
  refs_[at(block)] = 1;
  return block;
}

void BlockPool::retain(BlockId block) {
  CHECK(inside(block));
  if (refs_[at(block)] == 0) {
    if (BUG_IF(!kept_.contains(block))) return;
    kept_.remove(block);
  }
  ++refs_[at(block)];
}

void BlockPool::release(BlockId block, ClientId owner) {
  CHECK(inside(block));
  if (BUG_IF(refs_[at(block)] <= 0)) return;
  if (--refs_[at(block)] > 0) return;
  if (published_[at(block)]) return kept_.add(block, owner);
  empty_.push_back(block);
}

std::int32_t BlockPool::refs(BlockId block) const {
  CHECK(inside(block));
  return refs_[at(block)];
}

void BlockPool::publish(BlockId block) {
  CHECK(inside(block));
  if (BUG_IF(refs_[at(block)] <= 0)) return;
  published_[at(block)] = true;
}

void BlockPool::unpublish(BlockId block) {
  CHECK(inside(block));
  published_[at(block)] = false;
  if (refs_[at(block)] > 0 || !kept_.contains(block)) return;
  kept_.remove(block);
  empty_.push_back(block);
}

bool BlockPool::published(BlockId block) const {
  CHECK(inside(block));
  return published_[at(block)];
}

Status BlockPool::audit(std::span<const BlockTable* const> tables) const {
  std::vector<std::int32_t> counted(refs_.size(), 0);
  for (const BlockTable* table : tables) {
    for (BlockId block : table->held()) {
      if (!inside(block)) return internal_error("a table refers to block " + std::to_string(block.value));
      ++counted[at(block)];
    }
  }
  for (std::size_t i = 0; i < refs_.size(); ++i) {
    if (counted[i] == refs_[i]) continue;
    return internal_error("block " + std::to_string(i) + " has " + std::to_string(refs_[i]) + " references, " +
                          std::to_string(counted[i]) + " counted");
  }
  return audit_free();
}

Status BlockPool::audit_free() const {
  std::vector<bool> seen(refs_.size(), false);
  for (BlockId block : empty_) {
    if (!inside(block) || seen[at(block)] || refs_[at(block)] != 0 || published_[at(block)]) {
      return internal_error("block " + std::to_string(block.value) + " is in the free list wrongly");
    }
    seen[at(block)] = true;
  }
  std::int32_t held = 0;
  for (std::int32_t i = 0; i < total_blocks(); ++i) {
    const BlockId block{i};
    held += refs_[at(block)] > 0 ? 1 : 0;
    if (!kept_.contains(block)) continue;
    if (refs_[at(block)] == 0 && published_[at(block)] && !seen[at(block)]) continue;
    return internal_error("block " + std::to_string(i) + " is kept wrongly");
  }
  if (held + free_blocks() == total_blocks()) return {};
  return internal_error(std::to_string(held) + " held + " + std::to_string(free_blocks()) + " free blocks of " +
                        std::to_string(total_blocks()));
}

}  // namespace foregate
