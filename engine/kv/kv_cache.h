// The memory behind the block tables: one allocation per layer holding the pages of all blocks of its group.
// Owned by the runtime; written by the model's forward pass on the executor, and between steps a block at a time.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"
#include "engine/kv/kv_layout.h"
#include "kernels/api/args_attention.h"
#include "kernels/api/device.h"
#include "kernels/api/page_source.h"

namespace foregate {

class KvCache {
 public:
  // kResourceExhausted, with the numbers, when the device has not enough memory; kUnimplemented when its kernels lack
  // the type, or nothing reads a kind of layer yet.
  // `num_window_blocks`: of KvGroup::kWindow, where the layout is grouped.
  static Result<KvCache> create(Device& device, const KvLayout& layout, std::int64_t num_blocks,
                                std::int64_t num_window_blocks = 0);
  // One whose blocks take memory when they are first written to, and give it back in units of unit_blocks()
  // (`num_blocks` is a multiple). `pages` must outlive it. kResourceExhausted when there are not so many addresses.
  static Result<KvCache> create_elastic(Device& device, PageSource& pages, const KvLayout& layout,
                                        std::int64_t num_blocks);
  // The least number of blocks of which each part of each layer is whole pages.
  static std::int32_t unit_blocks(const KvLayout& layout, std::size_t page_bytes);
  std::int32_t unit_blocks() const { return unit_blocks_; }  // 1 where blocks give nothing back
  // `blocks` from `first` on, whole units, which had no memory: they are there from now on, as zeros. False, with
  // nothing changed, when there is none left.
  bool take(BlockId first, std::int32_t blocks);
  // Likewise: their memory goes back, and they read as zeros.
  void give_back(BlockId first, std::int32_t blocks);
  KvPages pages(LayerId layer) const;
  // Keys and values of all layers of the group; between steps.
  void copy_block(BlockId from, BlockId to, KvGroup group = KvGroup::kMain);
  void zero_block(BlockId block, KvGroup group = KvGroup::kMain);
  // Of the positions in the block; slow.
  void zero_positions(BlockId block, std::int32_t first, std::int32_t end, KvGroup group = KvGroup::kMain);
  // One position of a block to another place, of the same block or not; where the device's memory is the host's.
  void copy_position(BlockId from, std::int32_t from_place, BlockId to, std::int32_t to_place,
                     KvGroup group = KvGroup::kMain);
  // The contents of one block, block_bytes(group) of them, to and from memory of the host; between steps.
  void save_block(BlockId block, std::byte* to, KvGroup group = KvGroup::kMain) const;
  void load_block(BlockId block, const std::byte* from, KvGroup group = KvGroup::kMain);
  // Changes with every change of a block of the main group that is not a step's: who has a copy of it has another then.
  std::uint32_t version(BlockId block) const { return versions_.at(static_cast<std::size_t>(block.value)); }
  const KvLayout& layout() const { return layout_; }
  std::int64_t num_blocks(KvGroup group = KvGroup::kMain) const {
    return group == KvGroup::kMain ? num_blocks_ : num_window_blocks_;
  }

 private:
  // What a layer's memory is divided into, each with its part of every block.
  enum Part : std::size_t { kKeyScales, kValueScales, kKeys, kValues, kParts };
  struct Piece {
    std::byte* data;
    std::size_t bytes;  // 0: there are no scales
  };
  static std::array<std::size_t, kParts> part_bytes(const KvLayout& layout, std::size_t layer);  // of one block
  std::array<std::size_t, kParts> part_bytes(std::size_t layer) const { return part_bytes(layout_, layer); }
  std::array<Piece, kParts> pieces(std::size_t layer, BlockId block) const;
  void changed(BlockId block, KvGroup group = KvGroup::kMain) {
    if (group == KvGroup::kMain) ++versions_.at(static_cast<std::size_t>(block.value));
  }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) const;
  bool in_group(std::size_t layer, KvGroup group) const { return layout_.group_of(layout_.layers[layer]) == group; }

  Device* device_ = nullptr;
  KvLayout layout_;
  std::int64_t num_blocks_ = 0;
  std::int64_t num_window_blocks_ = 0;
  PageSource* pages_ = nullptr;  // null: blocks stay
  std::int32_t unit_blocks_ = 1;
  std::vector<Memory> layers_;
  std::vector<std::uint32_t> versions_;  // by block
};

}  // namespace foregate
