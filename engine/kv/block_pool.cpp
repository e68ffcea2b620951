#include "engine/kv/block_pool.h"

#include <string>

#include "engine/kv/block_table.h"

namespace foregate {
namespace {

std::size_t at(BlockId block) {
  return static_cast<std::size_t>(block.value);
}

}  // namespace

BlockPool::BlockPool(std::int32_t num_blocks, std::int32_t block_size, std::int32_t present, std::int32_t unit)
    : block_size_(block_size), unit_(unit), kept_(num_blocks) {
  CHECK(num_blocks >= 0 && block_size >= 1 && unit >= 1 && num_blocks % unit == 0);
  CHECK(present >= 0 && present <= num_blocks && present % unit == 0);
  refs_.assign(static_cast<std::size_t>(num_blocks), 0);
  published_.assign(refs_.size(), false);
  empty_.reserve(refs_.size());
  empty_in_unit_.assign(refs_.size() / static_cast<std::size_t>(unit), 0);
  for (std::int32_t i = num_blocks / unit - 1; i >= present / unit; --i) absent_.push_back(i);
  for (std::int32_t i = present - 1; i >= 0; --i) empty_block(BlockId{i});
  kept_.set_pool(present);
}

void BlockPool::empty_block(BlockId block) {
  empty_.push_back(block);
  ++empty_in_unit_[static_cast<std::size_t>(unit_of(block))];
}

void BlockPool::give_up_oldest() {
  const BlockId victim = kept_.victim();
  if (watch_ != nullptr) watch_->evicted(victim);
  if (on_evict_) on_evict_(victim);
  if (published(victim)) unpublish(victim);
}

std::vector<BlockId> BlockPool::remove_units(std::int32_t most) {
  std::vector<BlockId> gone;
  const auto missing = [&] { return most - static_cast<std::int32_t>(gone.size()); };
  // In small units what is given up makes whole ones at once; large ones may take more than they hold.
  for (int round = 0; round < 3 && missing() > 0; ++round) {
    for (std::int32_t i = round == 0 ? 0 : missing() * unit_; i > 0 && kept_.size() > 0; --i) give_up_oldest();
    for (auto unit = static_cast<std::int32_t>(empty_in_unit_.size()); unit-- > 0 && missing() > 0;) {
      std::int32_t& empty = empty_in_unit_[static_cast<std::size_t>(unit)];
      if (empty < unit_) continue;
      empty = 0;
      absent_.push_back(unit);
      gone.push_back(BlockId{unit * unit_});
    }
  }
  std::vector<bool> away(empty_in_unit_.size(), false);
  for (const BlockId first : gone) away[static_cast<std::size_t>(unit_of(first))] = true;
  std::erase_if(empty_, [&](BlockId block) { return away[static_cast<std::size_t>(unit_of(block))]; });
  kept_.set_pool(present_blocks());
  return gone;
}

void BlockPool::add_units(std::int32_t count) {
  CHECK(count >= 0 && count <= absent_units());
  for (; count > 0; --count) {
    const std::int32_t unit = absent_.back();
    absent_.pop_back();
    for (std::int32_t i = unit_ - 1; i >= 0; --i) empty_block(BlockId{unit * unit_ + i});
  }
  kept_.set_pool(present_blocks());
}

std::optional<BlockId> BlockPool::acquire() {
  if (empty_.empty()) {
    if (kept_.size() == 0) return std::nullopt;
    give_up_oldest();
  }
  const BlockId block = empty_.back();
  empty_.pop_back();
  --empty_in_unit_[static_cast<std::size_t>(unit_of(block))];
  refs_[at(block)] = 1;
  if (watch_ != nullptr) watch_->allocated(block);
  return block;
}

void BlockPool::retain(BlockId block) {
  CHECK(inside(block));
  if (refs_[at(block)] == 0) {
    if (BUG_IF(!kept_.contains(block))) return;
    kept_.remove(block);
  }
  ++refs_[at(block)];
  if (watch_ != nullptr) watch_->taken_over(block);
}

void BlockPool::release(BlockId block, ClientId owner) {
  CHECK(inside(block));
  if (BUG_IF(refs_[at(block)] <= 0)) return;
  if (--refs_[at(block)] > 0) return;
  if (published_[at(block)]) return kept_.add(block, owner);
  empty_block(block);
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
  empty_block(block);
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
  for (const std::int32_t unit : absent_) {
    for (std::int32_t i = unit * unit_; i < (unit + 1) * unit_; ++i) {
      const BlockId block{i};
      if (!inside(block) || seen[at(block)] || refs_[at(block)] != 0 || published_[at(block)]) {
        return internal_error("block " + std::to_string(i) + " is in use and not there");
      }
      seen[at(block)] = true;
    }
  }
  std::int32_t held = 0;
  for (std::int32_t i = 0; i < total_blocks(); ++i) {
    const BlockId block{i};
    held += refs_[at(block)] > 0 ? 1 : 0;
    if (!kept_.contains(block)) continue;
    if (refs_[at(block)] == 0 && published_[at(block)] && !seen[at(block)]) continue;
    return internal_error("block " + std::to_string(i) + " is kept wrongly");
  }
  if (held + free_blocks() == present_blocks()) return {};
  return internal_error(std::to_string(held) + " held + " + std::to_string(free_blocks()) + " free blocks of " +
                        std::to_string(present_blocks()));
}

}  // namespace foregate
