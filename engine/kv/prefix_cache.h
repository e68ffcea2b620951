// Which published blocks continue which: finds the blocks that a new sequence can start with instead of computing
// them. A block is published under its key with the tokens in it; a hit compares tokens, block before and salt, so that
// it does not rest on the hash alone. Whoever holds a published block holds the published blocks before it, so blocks
// are given up from the end of a prefix; but not where windows let sequences give up their first blocks of the same
// pool. Where layers with a window have a pool of their own, each published block may have the block there that holds
// the same positions beside it, for as long as that is not needed otherwise. Engine thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/kv/block_key.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/block_table.h"

namespace foregate {

class PrefixCache {
 public:
  // `pool` must outlive this; its eviction listener is taken. `windowed`: sequences give up their first blocks.
  // `beside`: of layers with a window, where they have their own; likewise.
  PrefixCache(BlockPool& pool, BlockNamer namer, bool windowed = false, BlockPool* beside = nullptr);
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // Adds the keys of all full blocks of `tokens` that `keys` does not have yet.
  void extend_keys(std::string_view salt, std::span<const Token> tokens, std::vector<BlockKey>& keys) const;
  // The published blocks that `tokens` starts with, whose keys are `keys`, at most `max_blocks`. Verified.
  std::vector<BlockId> match(std::string_view salt, std::span<const Token> tokens, std::span<const BlockKey> keys,
                             std::int32_t max_blocks) const;
  // Makes block number `index` of a sequence known, which holds `block` and, before it, `before` (published; unused
  // when index is 0). Gives the block that is known under this name now: another one when another sequence was first;
  // none when the name is taken by other tokens, or `before` is not known any more because what it followed was given
  // up; then nothing after it can be published either.
  std::optional<BlockId> publish(std::string_view salt, std::span<const Token> tokens, std::span<const BlockKey> keys,
                                 std::int32_t index, BlockId before, BlockId block);
  // From now on the window block, held, is the one beside a published block, unless that has one.
  void put_beside(BlockId block, BlockId window_block);
  // The window block beside a published one; kGivenUp: there is none any more.
  BlockId beside(BlockId block) const { return node(block).beside; }
  std::int64_t evicted() const { return evicted_; }  // blocks whose contents were given up so far
  std::size_t size() const { return by_key_.size(); }

  // The index and the pool agree; every published block has its predecessor. kInternal says what broke.
  Status audit() const;

 private:
  struct Node {
    bool known = false;
    BlockKey key;
    BlockId before{-1};
    std::string salt;  // of a first block
    std::vector<Token> tokens;
    std::vector<BlockId> after;
    BlockId beside = kGivenUp;
  };
  Node& node(BlockId block) { return nodes_[static_cast<std::size_t>(block.value)]; }
  const Node& node(BlockId block) const { return nodes_[static_cast<std::size_t>(block.value)]; }
  bool is(BlockId block, std::string_view salt, std::span<const Token> tokens, std::int32_t index,
          BlockId before) const;
  void forget(BlockId block);  // and all that follows it
  Status audit_beside() const;

  BlockPool& pool_;
  const BlockNamer namer_;
  const bool windowed_;
  BlockPool* const beside_;           // null: there are no such blocks
  std::vector<Node> nodes_;           // by block
  std::vector<BlockId> beside_whom_;  // by window block; kGivenUp: nobody
  std::unordered_map<BlockKey, BlockId, BlockKeyHash> by_key_;
  std::int64_t evicted_ = 0;
};

}  // namespace foregate
