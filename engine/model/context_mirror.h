// What other ranks have of the pages of rank 0, which has all of them: of each block and layer the first so many
// positions. Blocks fill from the front, so that is all there is to know. Pure bookkeeping; engine thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/ids.h"

namespace foregate {

struct ContextSpan {  // positions first .. first + count - 1 of a block
  std::int32_t block = 0;
  std::int32_t first = 0;
  std::int32_t count = 0;
};

class ContextMirror {
 public:
  ContextMirror(std::int32_t ranks, std::size_t layers, std::int64_t blocks, std::int32_t block_size);

  void forget(RankId rank);  // it has nothing
  // The position of the block changes on rank 0, in every layer; what lies behind it there is of no sequence any more.
  void changed(std::int32_t block, std::int32_t position);
  void forget_block(std::int32_t block) { changed(block, 0); }
  // What `rank` lacks of positions [from, position) of a sequence to attend from `position`; from here on it has them.
  void bring(RankId rank, LayerId layer, std::span<const std::int32_t> blocks, std::int32_t from, std::int32_t position,
             std::vector<ContextSpan>& lacks);
  // The rank itself computes the position, after all before it in the block.
  void computed(RankId rank, LayerId layer, std::int32_t block, std::int32_t position);

 private:
  std::uint16_t& have(RankId rank, LayerId layer, std::int32_t block);

  std::int32_t ranks_;
  std::size_t layers_;
  std::size_t blocks_;
  std::int32_t block_size_;
  std::vector<std::uint16_t> have_;  // [ranks - 1][layers][blocks]
};

}  // namespace foregate
