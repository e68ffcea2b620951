// Which KV blocks are free and how many tables refer to each that is not. A block whose contents are published keeps
// them when its last holder lets go, until nothing else is free. Owned by the runtime, engine thread only. The order
// in which blocks are handed out depends on the calls alone.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"
#include "engine/kv/cached_free.h"

namespace foregate {

class BlockTable;

// Hears what becomes of blocks.
class BlockWatch {
 public:
  virtual ~BlockWatch() = default;
  virtual void allocated(BlockId block) = 0;
  virtual void taken_over(BlockId block) = 0;  // somebody else goes by its contents
  virtual void evicted(BlockId block) = 0;     // its kept contents are given up for others
};

class BlockPool {
 public:
  // `present` of the blocks, the first ones, are there from the start; fewer than num_blocks where blocks come and go,
  // in units of `unit` (elastic_memory.h), of which both are multiples.
  BlockPool(std::int32_t num_blocks, std::int32_t block_size) : BlockPool(num_blocks, block_size, num_blocks, 1) {}
  BlockPool(std::int32_t num_blocks, std::int32_t block_size, std::int32_t present, std::int32_t unit);
  // A block with one reference, or none when all are held. Empty ones first, then published ones that nobody
  // holds, whose contents are lost: the listener is told.
  std::optional<BlockId> acquire();
  void retain(BlockId block);  // one more reference to a held or published block
  // One reference less; the last one frees the block. A published one is then kept in the name of `owner`.
  void release(BlockId block, ClientId owner = 0);
  std::int32_t refs(BlockId block) const;
  std::span<const std::int32_t> all_refs() const { return refs_; }  // by block

  // From now on the contents of a held block are worth keeping; nobody writes to it any more.
  void publish(BlockId block);
  // Its contents are worth nothing: a block that nobody holds becomes empty.
  void unpublish(BlockId block);
  bool published(BlockId block) const;
  void on_evict(std::function<void(BlockId)> listener) { on_evict_ = std::move(listener); }
  void watch(BlockWatch* watch) { watch_ = watch; }  // null: nobody; outlives the last call

  // Units of free blocks that are not there any more, `most` at most: empty ones, and where these are too few those
  // whose contents are given up first. The first block of each.
  std::vector<BlockId> remove_units(std::int32_t most);
  void add_units(std::int32_t count);  // absent_units() at most; their blocks are empty
  BlockId next_absent() const { return BlockId{absent_.back() * unit_}; }  // the first block of what comes next
  std::int32_t unit() const { return unit_; }
  std::int32_t absent_units() const { return static_cast<std::int32_t>(absent_.size()); }
  std::int32_t present_blocks() const { return total_blocks() - absent_units() * unit_; }

  std::int32_t free_blocks() const { return static_cast<std::int32_t>(empty_.size()) + kept_.size(); }  // can be had
  std::int32_t kept_blocks() const { return kept_.size(); }                              // of these, published
  std::int32_t total_blocks() const { return static_cast<std::int32_t>(refs_.size()); }  // those not there among them
  std::int32_t block_size() const { return block_size_; }                                // positions in one block
  const CachedFree& kept() const { return kept_; }

  // Conservation (INV-3): empty + kept + held + not there = total, nothing twice, and every reference count equals a
  // recount over `tables`, which must be all tables there are. kInternal says what broke.
  Status audit(std::span<const BlockTable* const> tables) const;

 private:
  bool inside(BlockId block) const { return block.value >= 0 && block.value < total_blocks(); }
  Status audit_free() const;
  void empty_block(BlockId block);
  void give_up_oldest();
  std::int32_t unit_of(BlockId block) const { return block.value / unit_; }
  std::int32_t block_size_;
  std::int32_t unit_;
  std::vector<std::int32_t> refs_;
  std::vector<bool> published_;
  std::vector<BlockId> empty_;  // a stack: the block freed last is handed out first
  std::vector<std::int32_t> empty_in_unit_;
  std::vector<std::int32_t> absent_;  // units; a stack too
  CachedFree kept_;
  std::function<void(BlockId)> on_evict_;
  BlockWatch* watch_ = nullptr;
};

// Blocks that `positions` positions need.
constexpr std::int32_t blocks_for(std::int64_t positions, std::int32_t block_size) {
  return static_cast<std::int32_t>((positions + block_size - 1) / block_size);
}

}  // namespace foregate
