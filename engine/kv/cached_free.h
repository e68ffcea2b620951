// Blocks that nobody holds but whose contents are worth keeping: which of them is given up first. Least recently used
// first, with a floor for every owner: half of the pool is shared out evenly among the owners that have something
// here, and what is within an owner's share goes only when nobody is above theirs. So a flood of one owner's prompts
// does not empty the cache of another. Part of the BlockPool; engine thread only.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine/base/ids.h"

namespace foregate {

using ClientId = std::uint64_t;

class CachedFree {
 public:
  explicit CachedFree(std::int32_t num_blocks) : nodes_(static_cast<std::size_t>(num_blocks)), pool_(num_blocks) {}
  void set_pool(std::int32_t blocks) { pool_ = blocks; }  // of which half is shared out; all unless told
  void add(BlockId block, ClientId owner);                // as the most recently used; it must not be in
  void remove(BlockId block);                             // it must be in
  BlockId victim() const;                                 // the one to give up next; size() > 0
  bool contains(BlockId block) const { return node(block).inside; }
  std::int32_t size() const { return size_; }
  std::int32_t size_of(ClientId owner) const;
  std::int32_t floor() const;  // blocks that are an owner's share now

 private:
  struct Node {
    std::int32_t before = -1;
    std::int32_t after = -1;
    std::uint64_t stamp = 0;
    ClientId owner = 0;
    bool inside = false;
  };
  struct Lane {  // one owner's, oldest first
    std::int32_t head = -1;
    std::int32_t tail = -1;
    std::int32_t count = 0;
  };
  const Node& node(BlockId block) const { return nodes_[static_cast<std::size_t>(block.value)]; }
  Node& node(std::int32_t block) { return nodes_[static_cast<std::size_t>(block)]; }

  std::vector<Node> nodes_;
  std::int32_t pool_;
  std::map<ClientId, Lane> lanes_;  // owners with at least one block
  std::int32_t size_ = 0;
  std::uint64_t stamp_ = 0;
};

}  // namespace foregate
