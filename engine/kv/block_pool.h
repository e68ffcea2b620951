// Which KV blocks are free and how many tables refer to each that is not. Owned by the runtime,
// engine thread only. The order in which blocks are handed out depends on the calls alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace foregate {

class BlockTable;

class BlockPool {
 public:
  BlockPool(std::int32_t num_blocks, std::int32_t block_size);
  // A block with one reference, or none when all are held.
  std::optional<BlockId> acquire();
  void retain(BlockId block);   // one more reference to a held block
  void release(BlockId block);  // one reference less; the last one frees the block
  std::int32_t refs(BlockId block) const;
  std::int32_t free_blocks() const { return static_cast<std::int32_t>(free_.size()); }
  std::int32_t total_blocks() const { return static_cast<std::int32_t>(refs_.size()); }
  std::int32_t block_size() const { return block_size_; }  // positions in one block

  // Conservation (INV-3): free + held = total, nothing twice in the free list, and every reference
  // count equals a recount over `tables`, which must be all tables there are. kInternal says what broke.
  Status audit(std::span<const BlockTable* const> tables) const;

 private:
  bool inside(BlockId block) const { return block.value >= 0 && block.value < total_blocks(); }
  std::int32_t block_size_;
  std::vector<std::int32_t> refs_;
  std::vector<BlockId> free_;  // a stack: the block freed last is handed out first
};

// Blocks that `positions` positions need.
constexpr std::int32_t blocks_for(std::int64_t positions, std::int32_t block_size) {
  return static_cast<std::int32_t>((positions + block_size - 1) / block_size);
}

}  // namespace foregate
