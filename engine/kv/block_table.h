// The blocks that hold the keys and values of one sequence, in order of position. Where every layer has a window, the
// first ones may have been given up: their places stay, so that a block's number is that of its positions. Owned by its
// Sequence, engine thread only. It changes only through KvTxn (INV-2).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/base/ids.h"

namespace foregate {

inline constexpr BlockId kGivenUp{-1};

class BlockTable {
 public:
  BlockTable() = default;
  BlockTable(BlockTable&& other) noexcept
      : blocks_(std::exchange(other.blocks_, {})), given_up_(std::exchange(other.given_up_, 0)) {}
  BlockTable& operator=(BlockTable&&) = delete;
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  std::span<const BlockId> blocks() const { return blocks_; }  // kGivenUp where one was
  std::span<const BlockId> held() const { return blocks().subspan(static_cast<std::size_t>(given_up_)); }
  std::int32_t given_up() const { return given_up_; }  // of the first ones
  std::int32_t size() const { return static_cast<std::int32_t>(blocks_.size()); }
  bool empty() const { return blocks_.empty(); }

 private:
  friend class KvTxn;
  std::vector<BlockId> blocks_;
  std::int32_t given_up_ = 0;
};

}  // namespace foregate
