// Who holds each block while a plan is made: the counts given, and what the plan changes about them. Inner part of
// engine/sched; lives for one plan.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <unordered_map>

#include "engine/base/ids.h"

namespace foregate {

class BlockHolders {
 public:
  explicit BlockHolders(std::span<const std::int32_t> refs) : refs_(refs) {}
  std::int32_t of(BlockId block) const {
    const auto it = changed_.find(block);
    return it != changed_.end() ? it->second : before(block);
  }
  std::int32_t before(BlockId block) const { return refs_[static_cast<std::size_t>(block.value)]; }
  // How many of them nobody holds.
  std::int32_t unheld(std::span<const BlockId> blocks) const {
    return static_cast<std::int32_t>(std::ranges::count_if(blocks, [this](BlockId b) { return of(b) == 0; }));
  }
  void add(std::span<const BlockId> blocks, std::int32_t count) {
    for (BlockId block : blocks) changed_[block] = of(block) + count;
  }

 private:
  std::span<const std::int32_t> refs_;
  std::unordered_map<BlockId, std::int32_t> changed_;
};

}  // namespace foregate
