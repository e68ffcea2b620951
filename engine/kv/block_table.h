// The blocks that hold the keys and values of one sequence, in order of position. Owned by its
// Sequence, engine thread only. It changes only through KvTxn (INV-2).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/base/ids.h"

namespace foregate {

class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(BlockTable&& other) noexcept : blocks_(std::exchange(other.blocks_, {})) {}
  BlockTable& operator=(BlockTable&&) = delete;
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  std::span<const BlockId> blocks() const { return blocks_; }
  std::int32_t size() const { return static_cast<std::int32_t>(blocks_.size()); }
  bool empty() const { return blocks_.empty(); }

 private:
  friend class KvTxn;
  std::vector<BlockId> blocks_;
};

}  // namespace foregate
